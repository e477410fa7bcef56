//! Large objects that binaries of the VM refer to where they lie in a table.
//!
//! The memory of such an object is owned by a resource of the VM. Its table has one reference, and
//! each binary that was made of a part of it another one; the last one frees it. So a large binary
//! is handed out without a copy, and outlives its object.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use pets_core::table::long_blocks::{self, Memory, Owners};
use rustler::sys::{self, ErlNifEnv};

use crate::raw::{Env, Term};

/// The type of the resources, each of which has a [`Memory`]. Null before `load`.
static TYPE: AtomicPtr<sys::ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

struct Resources;

impl Owners for Resources {
    fn own(&self, memory: Memory) -> NonNull<()> {
        // Acquire pairs with the Release in `load`.
        let kind = TYPE.load(Ordering::Acquire);
        // SAFETY: the type is the one that `load` opened; the resource has room for a `Memory`.
        let resource = unsafe { sys::enif_alloc_resource(kind, size_of::<Memory>()) };
        let resource = NonNull::new(resource).expect("the VM ends when it has no memory");
        // SAFETY: nobody else knows of the resource yet, and it is aligned for words.
        unsafe { resource.cast::<Memory>().write(memory) };
        resource.cast()
    }

    unsafe fn release(&self, owner: NonNull<()>) {
        // SAFETY: the caller gives back the reference that `enif_alloc_resource` made.
        unsafe { sys::enif_release_resource(owner.as_ptr().cast()) };
    }
}

/// Called by the VM when nobody refers to a resource any more.
unsafe extern "C" fn free(_env: *mut ErlNifEnv, resource: *mut c_void) {
    // SAFETY: `own` has written it, and this is the resource's end.
    unsafe { ptr::drop_in_place(resource.cast::<Memory>()) };
}

/// Has resources own what binaries refer to, from the loading of the library on; false if that cannot
/// be.
pub(crate) fn load(env: Env) -> bool {
    let free: sys::ErlNifResourceDtor = free;
    let init = sys::ErlNifResourceTypeInit {
        dtor: free as *const sys::ErlNifResourceDtor,
        stop: ptr::null(),
        down: ptr::null(),
        members: 1,
        dyncall: ptr::null(),
    };
    // SAFETY: `env` is that of the call that loads the library; the VM copies `init`.
    let kind = unsafe {
        sys::enif_init_resource_type(
            env.0,
            c"pets_memory".as_ptr(),
            &raw const init,
            sys::ErlNifResourceFlags::ERL_NIF_RT_CREATE,
            ptr::null_mut(),
        )
    };
    if kind.is_null() {
        return false;
    }
    // Release pairs with the Acquire in `own`.
    TYPE.store(kind.cast_mut(), Ordering::Release);
    long_blocks::install(&Resources);
    true
}

/// A binary of these bytes.
///
/// # Safety
/// They lie in the memory of `owner`, to which the caller or a table has a reference, and never
/// change.
pub(crate) unsafe fn binary(env: Env, owner: NonNull<()>, data: *const u8, bytes: usize) -> Term {
    // SAFETY: by the caller; the binary gets a reference of its own.
    Term::from_nif(unsafe {
        sys::enif_make_resource_binary(env.0, owner.as_ptr().cast(), data.cast(), bytes)
    })
}

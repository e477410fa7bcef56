//! BEAM nodes, which see an ordinary hidden node.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use pets_cnode::Config;

use crate::harness::{Epmd, TestNode, eventually};

/// A BEAM that evaluates the lines it is sent.
struct Beam {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Beam {
    fn start(epmd: &Epmd, name: &str, cookie: &str) -> Self {
        // Reads expressions, one in each line, and prints what they evaluate to.
        let read = "F = fun Loop() -> case io:get_line(\"\") of eof -> halt(); Line -> \
             {ok, Tokens, _} = erl_scan:string(Line), \
             {ok, Expressions} = erl_parse:parse_exprs(Tokens), \
             {value, Value, _} = erl_eval:exprs(Expressions, []), \
             io:format(\"~0p~n\", [Value]), Loop() end end, F().";
        let mut child = Command::new("erl")
            .args(["-noshell", "-start_epmd", "false", "-name", name, "-setcookie", cookie])
            .args(["-kernel", "net_ticktime", "1"])
            .args(["-eval", read])
            .env("ERL_EPMD_PORT", epmd.port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("erl on the PATH");
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, stdout }
    }

    fn eval(&mut self, expression: &str) -> String {
        writeln!(self.stdin, "{expression}").unwrap();
        self.stdout.next().expect("an answer").unwrap()
    }
}

impl Drop for Beam {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_beam_node_pings_sends_monitors_and_sees_it_go() {
    let epmd = Epmd::start();
    // As the BEAM below: both ends of a link must agree on it.
    let net_ticktime = Duration::from_secs(1);
    let a = TestNode::start(Config { net_ticktime, ..epmd.config("pets_a") });
    let mut beam = Beam::start(&epmd, "x@127.0.0.1", "secret");
    assert_eq!(beam.eval("net_kernel:monitor_nodes(true, #{node_type => all})."), "ok");
    assert_eq!(beam.eval("net_adm:ping('pets_a@127.0.0.1')."), "pong");
    let up = "receive {nodeup, N, I} -> {N, maps:get(node_type, I)} after 5000 -> late end.";
    assert_eq!(beam.eval(up), "{'pets_a@127.0.0.1',hidden}");
    assert_eq!(beam.eval("{nodes(), nodes(hidden)}."), "{[],['pets_a@127.0.0.1']}");
    // A call with a tag that is no alias is answered at the process.
    let plain = "R = make_ref(), \
         {net_kernel, 'pets_a@127.0.0.1'} ! {'$gen_call', {self(), R}, {is_auth, node()}}, \
         receive {R, Yes} -> Yes after 5000 -> late end.";
    assert_eq!(beam.eval(plain), "yes");
    let echo = "Term = #{list => lists:seq(1, 100), bin => binary:copy(<<7>>, 1000000), f => 1.5, \
         big => 1 bsl 200, improper => [a|b], fun_ => fun erlang:abs/1, ref => make_ref()}, \
         {echo, 'pets_a@127.0.0.1'} ! {self(), Term}, \
         receive {Me, Term} when Me == self() -> same after 5000 -> late end.";
    assert_eq!(beam.eval(echo), "same");
    let many = "[{echo, 'pets_a@127.0.0.1'} ! {self(), I} || I <- lists:seq(1, 20000)], \
         [receive {_, I} -> ok after 5000 -> exit(late) end || I <- lists:seq(1, 20000)], \
         in_order.";
    assert_eq!(beam.eval(many), "in_order");
    let unknown = "R = monitor(process, {nobody, 'pets_a@127.0.0.1'}), \
         receive {'DOWN', R, process, P, Why} -> {P, Why} after 5000 -> late end.";
    assert_eq!(beam.eval(unknown), "{{nobody,'pets_a@127.0.0.1'},noproc}");
    let gone = "catch gen_server:call({nobody, 'pets_a@127.0.0.1'}, hi, 5000).";
    assert!(beam.eval(gone).contains("noproc"));
    // Idle for several ticktimes of the BEAM's own, one second each: our ticks keep it up.
    let idle = "receive {nodedown, _, _} = Down -> Down after 3000 -> still_up end.";
    assert_eq!(beam.eval(idle), "still_up");
    let watch = "R = monitor(process, {echo, 'pets_a@127.0.0.1'}), put(r, R), \
         receive {'DOWN', R, _, _, Why} -> Why after 0 -> alive end.";
    assert_eq!(beam.eval(watch), "alive");
    assert_eq!(a.node.stats().other_links, 1);
    a.node.stop();
    let down = "receive {nodedown, N, _} -> N after 5000 -> late end.";
    assert_eq!(beam.eval(down), "'pets_a@127.0.0.1'");
    let monitored = "R = get(r), receive {'DOWN', R, _, _, Why} -> Why after 5000 -> late end.";
    assert_eq!(beam.eval(monitored), "noconnection");
}

#[test]
fn a_beam_node_with_another_cookie_is_refused() {
    let epmd = Epmd::start();
    let a = epmd.node("pets_a");
    let mut beam = Beam::start(&epmd, "x@127.0.0.1", "another");
    assert_eq!(beam.eval("logger:set_primary_config(level, none)."), "ok");
    assert_eq!(beam.eval("net_adm:ping('pets_a@127.0.0.1')."), "pang");
    eventually("it is logged", || a.has_logged("cookie mismatch") || a.has_logged("eof"));
}

#[test]
fn a_beam_node_that_is_killed_leaves_nothing_behind() {
    let epmd = Epmd::start();
    let a = epmd.node("pets_a");
    let mut beam = Beam::start(&epmd, "x@127.0.0.1", "secret");
    assert_eq!(beam.eval("net_adm:ping('pets_a@127.0.0.1')."), "pong");
    assert_eq!(a.node.stats().other_links, 1);
    drop(beam);
    eventually("the link is gone", || a.node.stats().other_links == 0);
    assert_eq!(a.call(a.name(), b"e"), Ok(b"e".to_vec()));
}

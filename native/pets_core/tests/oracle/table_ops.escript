#!/usr/bin/env escript
%%! +S 1 -noshell
%% Random programs on `:ets` tables of all types, with what `:ets` answered:
%%   table_ops.escript SEED PROGRAMS
%% One line each: "new TYPE KEYPOS", or operation number, arguments and outcome (0 and the result, or
%% 1 and the number of the cause) as terms in prefix notation.
main([Seed, Programs]) ->
    rand:seed(exsss, list_to_integer(Seed)),
    io:setopts([{encoding, latin1}]),
    [program() || _ <- lists:seq(1, list_to_integer(Programs))],
    ok.

program() ->
    Keypos = pick([1, 1, 1, 2, 3]),
    put(keypos, Keypos),
    Type = pick([set, set, ordered_set, bag, duplicate_bag]),
    put(type, Type),
    Table = ets:new(t, [Type, public, {keypos, Keypos}]),
    Lines = [step(Table) || _ <- lists:seq(1, 60)],
    Content = lists:sort(ets:tab2list(Table)),
    file:write(standard_io, [
        ["new ", atom_to_list(Type), $\s, integer_to_list(Keypos), $\n], Lines, "content ", term(Content), $\n
    ]),
    ets:delete(Table).

step(Table) ->
    {Op, Args} = operation(Table),
    Outcome =
        try
            [$0, $\s, term(apply_op(Op, Table, Args))]
        catch
            error:badarg:Stack ->
                [{_, _, _, Info} | _] = Stack,
                Error = proplists:get_value(error_info, Info, #{}),
                [$1, $\s, cause(maps:get(cause, Error, none))]
        end,
    [integer_to_list(Op), $\s, term(Args), Outcome, $\n].

cause(none) -> "0";
cause(badkey) -> "1";
cause(keypos) -> "2";
cause(position) -> "3";
cause(table_type) -> "4".

apply_op(1, T, {K}) -> ets:lookup(T, K);
apply_op(2, T, {K, P}) -> ets:lookup_element(T, K, P);
apply_op(2, T, {K, P, D}) -> ets:lookup_element(T, K, P, D);
apply_op(3, T, {K}) -> ets:member(T, K);
apply_op(N, T, {O}) when N =:= 4; N =:= 5 -> ets:insert(T, O);
apply_op(N, T, {O}) when N =:= 6; N =:= 7 -> ets:insert_new(T, O);
apply_op(8, T, {K}) -> ets:delete(T, K);
apply_op(9, T, {O}) -> ets:delete_object(T, O);
apply_op(10, T, {K}) -> ets:take(T, K);
apply_op(11, T, {K, O}) -> ets:update_counter(T, K, O);
apply_op(11, T, {K, O, D}) -> ets:update_counter(T, K, O, D);
apply_op(12, T, {K, O}) -> ets:update_element(T, K, O);
apply_op(12, T, {K, O, D}) -> ets:update_element(T, K, O, D);
apply_op(13, T, {}) -> ets:delete_all_objects(T);
apply_op(14, T, {Ks}) -> [ets:member(T, K) || K <- Ks].

operation(Table) ->
    case rand:uniform(30) of
        1 -> {1, {key()}};
        2 -> {2, {key(), position()}};
        3 -> {2, {key(), position(), value()}};
        4 -> {3, {key()}};
        N when N < 8 -> {4, {object()}};
        8 -> {5, {list(fun object/0)}};
        9 -> {6, {object()}};
        10 -> {7, {new_objects()}};
        11 -> {8, {key()}};
        12 -> {9, {delete_object(Table)}};
        13 -> {10, {key()}};
        N when N < 20 -> {11, {key(), one_or_list(fun counter_op/0)}};
        N when N < 23 -> {11, {key(), one_or_list(fun counter_op/0), default()}};
        N when N < 26 -> {12, {key(), one_or_list(fun element_op/0)}};
        N when N < 28 -> {12, {key(), one_or_list(fun element_op/0), default()}};
        28 -> case rand:uniform(6) of 1 -> {13, {}}; _ -> {1, {key()}} end;
        _ -> {14, {[key() || _ <- lists:seq(1, rand:uniform(4) - 1)]}}
    end.

pick(List) -> lists:nth(rand:uniform(length(List)), List).

key() -> pick([1, 1.0, 2, k, <<"key">>, {a, [1]}, {a, [1.0]}, 1 bsl 70]).

value() ->
    pick([
        0, 1, -1, 7, 100, (1 bsl 59) - 1, -(1 bsl 59), 1 bsl 59, 1 bsl 70, -(1 bsl 70), 1 bsl 200,
        1, 5, 12, 3, 4, a, 1.5, [], [1, 2], [1 | 2], {x, {}}, <<"binary of some length">>
    ]).

integer() ->
    pick([0, 1, -1, 3, -7, 100, (1 bsl 59) - 1, -(1 bsl 59), 1 bsl 59, 1 bsl 70, -(1 bsl 70), 1, 2]).

position() -> pick([1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 0, -1, a, 1.0, 1 bsl 70]).

%% Mostly tuples that can be stored.
object() ->
    case rand:uniform(25) of
        1 -> pick([a, 1, 1.5, 1 bsl 70, <<"binary">>]);
        2 -> pick([{}, {k}, {k, 1}]);
        _ -> tuple(get(keypos) + rand:uniform(4) - 1)
    end.

tuple(Arity) ->
    Values = [case rand:uniform(2) of 1 -> integer(); 2 -> value() end || _ <- lists:seq(1, Arity)],
    setelement(get(keypos), list_to_tuple(Values), key()).

delete_object(Table) ->
    case ets:tab2list(Table) of
        [_ | _] = Objects when Objects =/= [] ->
            case rand:uniform(3) of 1 -> object(); _ -> pick(Objects) end;
        [] ->
            object()
    end.

%% A tuple that ends before the key makes this release of `:ets` read beyond it.
default() ->
    case rand:uniform(12) of
        1 -> pick([a, [], 1, [{k, 1}]]);
        _ -> tuple(get(keypos) + rand:uniform(4) - 1)
    end.

%% Without two objects of one key: which of them stays is not documented.
new_objects() ->
    case list(fun object/0) of
        [A, B | _] = Items when is_tuple(A), is_tuple(B) ->
            try length(lists:ukeysort(get(keypos), Items)) =:= length(Items) of
                true -> Items;
                false -> [A]
            catch
                error:_ -> [A]
            end;
        Items ->
            Items
    end.

list(Of) ->
    Items = [Of() || _ <- lists:seq(1, rand:uniform(4) - 1)],
    case rand:uniform(20) of
        1 when Items =/= [] -> Items ++ pick([a, 1, {k, 1}]);
        _ -> Items
    end.

one_or_list(Of) ->
    case rand:uniform(3) of 1 -> list(Of); _ -> Of() end.

counter_op() ->
    case rand:uniform(14) of
        N when N < 4 -> integer();
        N when N < 8 -> {position(), integer()};
        N when N < 12 -> {position(), integer(), integer(), integer()};
        12 -> {position(), value()};
        13 -> {position(), value(), value(), value()};
        14 -> pick([{}, {1}, {2, 1, 3}, foo, 1.0, [{2, 1}], <<>>])
    end.

element_op() ->
    case rand:uniform(10) of
        1 -> pick([{}, {1}, {2, 1, 3}, foo, 1.0, 1, [{2, 1}], <<>>]);
        _ -> {position(), value()}
    end.

term(T) when is_integer(T) -> [$i, integer_to_list(T), $\s];
term(T) when is_atom(T) -> [$a, atom_to_list(T), $\s];
term(T) when is_float(T) ->
    <<Bits:64>> = <<T/float>>,
    [$f, integer_to_list(Bits), $\s];
term(T) when is_binary(T) -> [$b, [io_lib:format("~2.16.0b", [B]) || <<B>> <= T], $\s];
term([]) -> "n ";
term(T) when is_list(T) ->
    case proper(T, []) of
        {Items, []} -> [$l, integer_to_list(length(Items)), $\s, [term(I) || I <- Items]];
        {Items, Tail} ->
            [$m, integer_to_list(length(Items)), $\s, [term(I) || I <- Items], term(Tail)]
    end;
term(T) when is_tuple(T) ->
    [$t, integer_to_list(tuple_size(T)), $\s, [term(E) || E <- tuple_to_list(T)]].

proper([H | T], Acc) -> proper(T, [H | Acc]);
proper(Tail, Acc) -> {lists:reverse(Acc), Tail}.

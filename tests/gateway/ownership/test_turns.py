from gateway.ownership.turns import Turns


def test_each_has_a_turn_however_many_another_has():
    turns = Turns()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        turns.append(item[0], item)
    assert len(turns) == 6
    assert [turns.popleft() for _ in range(4)] == ["a1", "b1", "c1", "a2"]
    turns.append("c", "c2")
    assert [turns.popleft() for _ in range(len(turns))] == ["b2", "a3", "c2"]
    assert not turns

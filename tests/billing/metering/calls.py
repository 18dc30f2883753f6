"""Calls of a lane to its database, watched or made to fail."""


def observed(lane, monkeypatch):
    """The calls that the lane makes from now on: statements and parameters."""
    calls, connection = [], lane._connection
    call = connection.call
    monkeypatch.setattr(connection, "call", lambda *what: calls.append(what[:2]) or call(*what))
    return calls


def failing_at(lane, monkeypatch, statement, what):
    """The lane's first call of that statement does `what` instead."""
    way = lane._connection
    call, left = way.call, [what]
    monkeypatch.setattr(way, "call", lambda *call_: left.pop()() if left and call_[0] == statement else call(*call_))


def raise_something():
    raise ZeroDivisionError

"""Whose are the objects that upstreams keep? One shared account behind many tenants is one shared store.

owners.py   the books of ownership of one process: who owns a response, and what was issued to whom
lane.py     their way to the database, in batches (gateway/ownership.sql)
turns.py    whose turn it is among those that take long. Pure
naming.py   may this request name what it names? Pure
claim.py    one answer: its id is its project's before the first byte of it leaves
"""

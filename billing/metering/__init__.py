"""Hold and settle: what every request waits for.

meter.py        the door: what a gateway process calls, from the hold to the end
lane.py         the way of holds and ends into the database, for as long as the process lives
writing.py      how a batch of them is written, and what becomes of each
batch.py        holds and ends that go in one call, each with whoever waits for it
connection.py   carries calls out until it is known what became of them
refusals.py     why a request is not admitted for money's sake
alarms.py       ends that somebody should hear of at once
waiting.py      for what others wait for too
request_ids.py  ids by the database's clock
"""

"""What the lane does with a batch, without a loop: for threads that send at once."""

from collections import Counter

import msgspec
import psycopg

from billing.metering.connection import OPTIONS, REFUSALS
from billing.metering.writing import END_EXACTLY, GAVE_UP, HOLD_EXACTLY, MARK, WRITE
from tests.billing.books import batch_of

NAME = "sender"


class GaveUp(Exception):
    pass


class Sender:
    """One connection. `errors` counts the SQLSTATEs of the calls that were sent again."""

    def __init__(self, url):
        self._url = url
        self._connection = None
        self.errors = Counter()

    def close(self):
        self._connection.close()

    def send(self, holds=(), ends=()):
        """The outcome of each hold and end by id, once it is known: held, ended, and what the exact functions say."""
        _, parameters = batch_of(holds, ends)
        try:
            ended = set(self.call(WRITE, parameters))
        except GaveUp:
            outcomes = self._end(ends) if ends else {}
            return outcomes | (self._hold_exactly(parameters[3]) if holds else {})
        missed = self._end_exactly([end for end in ends if end.id not in ended])
        return missed | {str(item): "ended" for item in ended} | {str(hold.id): "held" for hold in holds}

    def mark(self, progress):
        self.call(MARK, [msgspec.json.encode([progress]).decode()])

    def call(self, statement, parameters):
        while True:
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(
                        self._url, autocommit=True, options=OPTIONS, application_name=NAME
                    )
                return self._connection.execute(statement, parameters, prepare=True).fetchone()[0]
            except psycopg.Error as error:
                state = error.sqlstate or "lost"
                if statement == WRITE and state in GAVE_UP:
                    raise GaveUp from None
                if state.startswith(REFUSALS):
                    raise
                self.errors[state] += 1
                if not state.startswith("40"):
                    if self._connection is not None:
                        self._connection.close()
                    self._connection = None

    def _end(self, ends):
        try:
            ended = set(self.call(*batch_of((), ends)))
        except GaveUp:
            ended = set()
        missed = self._end_exactly([end for end in ends if end.id not in ended])
        return missed | {str(item): "ended" for item in ended}

    def _end_exactly(self, ends):
        return msgspec.json.decode(self.call(END_EXACTLY, [batch_of((), ends)[1][1]])) if ends else {}

    def _hold_exactly(self, hold_items):
        answer = msgspec.json.decode(self.call(HOLD_EXACTLY, [hold_items]))
        return {item: decided["outcome"] for item, decided in answer.items()}

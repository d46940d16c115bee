"""Requests that arrive together are predicted together, in threads of their own."""

import asyncio
import collections
import contextlib
import itertools
import math
import threading
import time
import traceback
from typing import NamedTuple

from engine.explanation import SPANS

THREADS = 4  # at most, since they share Python's lock with the connections
TEXT_WORK = 8  # of a text beside its characters
FIRST_SPEED = 10_000  # work a second of a model that is not measured yet
MOST_SECONDS = 0.25  # of a batch, about
NEW_SHARE = 0.2  # of the latest batch in the mean speed


class Refused(Exception):
    """The queue is full or closed. `seconds`: after how many a client may try again."""

    def __init__(self, detail, seconds=1):
        super().__init__(detail)
        self.seconds = seconds


class Failed(Exception):
    """A model did not predict."""


class Options(NamedTuple):
    """What a request asks for beside the labels."""

    top_k: int | None = None
    min_confidence: float = 0.0
    explain: bool = False


class Job:
    """The texts of a request, and the rows of its predictions, None if not predicted yet."""

    def __init__(self, served, texts, options):
        self.served, self.texts, self.options = served, texts, options
        self.sizes = [work_of(text) for text in texts]
        self.works = [work_of(text, explain=True) for text in texts] if options.explain else self.sizes
        self.size, self.work = sum(self.sizes), sum(self.works)  # of the texts that are not taken yet
        self.taken, self.rows, self.left = 0, [None] * len(texts), len(texts)  # left: rows to predict
        self.future = asyncio.get_running_loop().create_future()

    def next_part(self, room):
        """The next texts, of about this work, at least one."""
        start, work = self.taken, 0
        while self.taken < len(self.texts) and work < room:
            work += self.works[self.taken]
            self.taken += 1
        size = sum(self.sizes[start : self.taken])
        self.size -= size
        self.work -= work
        return Part(self, start, self.texts[start : self.taken], size, work)


class Part(NamedTuple):
    """Texts of a job that are predicted together."""

    job: Job
    start: int  # the index of the first in the job
    texts: list
    size: int
    work: int


class Batcher:
    """Predicts jobs in threads of its own, the texts of several in a batch, from `start` to `close`.

    A thread waits until there are as many jobs as the batch before had, but `window` seconds at most. So a client
    that is alone does not wait. A batch has at most the work of `most_of_batch` and `MOST_SECONDS`. A job with more
    texts is predicted in parts, between which the others have their turn. Size and work are in characters; an
    explanation has more work than size. most_waiting: the size beyond which further jobs are refused. observe: a
    function that is called with a Served, the probabilities of a batch, (N, C), how many of its texts were cut, the
    number of its jobs, and the size that is waiting; log: a `Log`.
    """

    def __init__(self, window, most_of_batch, most_waiting, observe, log):
        self.window, self.most_of_batch, self.most_waiting = window, most_of_batch, most_waiting
        self.observe, self.log = observe, log
        self.queue, self.waiting = collections.deque(), 0  # jobs, and their size
        self.expected = 1  # jobs of the next batch
        self.speeds = {}  # of models by name: work a second
        self.closed = False
        self.changed = threading.Condition()
        self.threads = []

    def start(self, count):
        """Starts so many threads."""
        for _ in range(count):
            self.threads.append(threading.Thread(target=self._run, name="model", daemon=True))
            self.threads[-1].start()

    async def predict(self, served, texts, options):
        """The predictions of texts as JSON objects, a list of str. Raises Refused if the queue is full or closed."""
        if not texts:
            return []
        job = Job(served, texts, options)
        with self.changed:
            if self.closed:
                raise Refused("the server is stopping")
            if self.queue and self.waiting + job.size > self.most_waiting:
                raise Refused("too many requests are waiting", self.seconds_left)
            self.queue.append(job)
            self.waiting += job.size
            if len(self.queue) in (1, self.expected) or self.waiting >= self.most_of_batch:
                self.changed.notify()
        return await job.future

    @property
    def seconds_left(self):
        """In how many seconds the jobs that are waiting will be done, at least 1."""
        work = sum(job.work for job in self.queue)
        speed = min(self.speeds.values(), default=FIRST_SPEED) * max(1, len(self.threads))
        return max(1, math.ceil(work / speed))

    def close(self):
        """Refuses further jobs, and waits for those that are there."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()

    def _run(self):
        while (batch := self._next_batch()) is not None:
            if batch:
                self._finish(batch)

    def _next_batch(self):
        """Parts of the jobs of one model, maybe none; None at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.queue or self.closed)
            self.changed.wait_for(self._is_full, self.window)
            if not self.queue:  # another thread has taken them
                return None if self.closed else []
            served = self.queue[0].served
            room = min(self.most_of_batch, MOST_SECONDS * self.speeds.get(served.name, FIRST_SPEED))
            batch, unfinished, others = [], [], []
            while self.queue and room > 0:
                job = self.queue.popleft()
                if job.future.done():  # nobody waits for it any more, or a part has failed
                    self.waiting -= job.size
                elif job.served is not served:
                    others.append(job)
                else:
                    batch.append(job.next_part(room))
                    room -= batch[-1].work
                    self.waiting -= batch[-1].size
                    unfinished += [job] if job.work else []
            self.queue.extendleft(reversed(others))
            self.queue.extend(unfinished)
            self.expected = 1 if self.queue else len(batch)  # those that are left do not wait for others
            return batch

    def _is_full(self):
        return self.closed or len(self.queue) >= self.expected or self.waiting >= self.most_of_batch

    def _finish(self, batch):
        """Predicts a batch. If that fails, each job is predicted alone, so that only the one with the error fails."""
        start = time.perf_counter()
        try:
            rows = self._predict(batch)
        except Exception:
            if len(batch) > 1:
                for part in batch:
                    self._finish([part])
                return
            self.log.message(f"A request failed: {traceback.format_exc()}")
            _send(batch, error=Failed("the model failed; the log says why"))
        else:
            name, speed = batch[0].job.served.name, sum(part.work for part in batch) / (time.perf_counter() - start)
            self.speeds[name] = (1 - NEW_SHARE) * self.speeds.get(name, speed) + NEW_SHARE * speed
            _send(batch, rows)

    def _predict(self, batch):
        """The rows of the texts of a batch."""
        served = batch[0].job.served
        probabilities, cut = served.predictor.compute([text for part in batch for text in part.texts])
        start, rows = 0, []
        for options, group in itertools.groupby(batch, lambda part: part.job.options):
            texts = [text for part in group for text in part.texts]
            found = probabilities[start : start + len(texts)]
            weights = served.explanation.weights(texts, found) if options.explain else None
            rows += served.formatter(found, options.top_k, options.min_confidence, weights)
            start += len(texts)
        self.observe(served, probabilities, cut, len(batch), self.waiting)
        return rows


def work_of(text, explain=False):
    """About how many characters are computed for a text."""
    return TEXT_WORK + len(text) * (1 + (min(len(text), SPANS) if explain else 0))


def _send(batch, rows=None, error=None):
    """Hands the rows of a batch, or an error, over to the thread of the coroutines that wait for them."""

    def wake():
        start = 0
        for job, first, texts, *_ in batch:
            if job.future.done():
                pass
            elif error:
                job.future.set_exception(error)
            else:
                job.rows[first : first + len(texts)] = rows[start : start + len(texts)]
                job.left -= len(texts)
                if not job.left:
                    job.future.set_result(job.rows)
            start += len(texts)

    with contextlib.suppress(RuntimeError):  # the loop is closed
        batch[0].job.future.get_loop().call_soon_threadsafe(wake)

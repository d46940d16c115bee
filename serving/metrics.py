"""Metrics for Prometheus: requests, rows, latency, batches, the queue, and what the model answers.

With several processes prometheus_client keeps the numbers in files, which it adds up when it is asked.
"""

import os

import numpy as np
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # an environment variable of prometheus_client
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
CONFIDENCES = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99], np.float32)  # lower bounds of bins


class Metrics:
    """The metrics of a process."""

    media_type = prometheus_client.CONTENT_TYPE_LATEST

    def __init__(self):
        self.registry = CollectorRegistry()
        own = {"registry": self.registry, "namespace": "classifier"}
        self.requests = Counter("requests", "Requests by path and status", ["path", "status"], **own)
        self.seconds = Histogram("request_seconds", "Duration of requests for predictions", buckets=SECONDS, **own)
        self.rows = Counter("rows", "Texts predicted", ["model"], **own)
        self.cut = Counter("cut_rows", "Texts longer than what the model reads of them", ["model"], **own)
        self.batch_rows = Histogram("batch_rows", "Texts of a batch", buckets=SIZES, **own)
        self.batch_jobs = Histogram("batch_requests", "Requests of a batch", buckets=SIZES, **own)
        self.waiting = Gauge(
            "waiting_characters", "Texts that wait to be predicted", multiprocess_mode="livesum", **own
        )
        self.predicted = Counter("predictions", "Texts by their most probable class", ["model", "label"], **own)
        self.confidences = Counter(
            "confidences", "Texts by the bin of their largest probability", ["model", "at_least"], **own
        )

    def observe_request(self, path, status, seconds):
        """Counts a request."""
        self.requests.labels(path, status).inc()
        if path == "/predict":
            self.seconds.observe(seconds)

    def observe_batch(self, served, probabilities, cut, jobs, waiting):
        """Counts a batch that was predicted; the arguments are those of `Batcher.observe`."""
        name, read = served.name, probabilities[probabilities.any(axis=1)]
        self.rows.labels(name).inc(len(probabilities))
        self.cut.labels(name).inc(cut)
        self.batch_rows.observe(len(probabilities))
        self.batch_jobs.observe(jobs)
        self.waiting.set(waiting)
        ids, counts = np.unique(read.argmax(axis=1), return_counts=True)
        for i, count in zip(ids, counts, strict=True):
            self.predicted.labels(name, served.predictor.classes[i]).inc(count)
        bins = np.searchsorted(CONFIDENCES, read.max(axis=1), side="right") - 1
        ids, counts = np.unique(bins, return_counts=True)
        for i, count in zip(ids, counts, strict=True):
            self.confidences.labels(name, f"{CONFIDENCES[i]:g}").inc(count)

    def content(self):
        """The metrics of all processes in the format of Prometheus."""
        if DIRECTORY not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)

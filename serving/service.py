"""The models that a server has: loaded in the background, predicted in batches, replaced while it runs."""

import asyncio

from cli.console import UserError, excerpt, listing
from engine.predictions import check_unsure
from serving.batcher import Refused
from serving.loading import load, share_cores, version_of

LOADING, READY, STOPPING = "loading", "ready", "stopping"


class Unknown(Exception):
    """There is no model of this name."""


class Service:
    """Predicts with models by name, the first of which is the default.

    paths: of checkpoints or exported directories, by name; batcher: a `Batcher`; log: a `Log`; options: of
    `loading.load`.
    """

    def __init__(self, paths, batcher, log, **options):
        self.paths, self.batcher, self.log, self.options = paths, batcher, log, options
        self.state, self.models = LOADING, {}
        self.active = 0  # requests whose predictions are not done
        self.reloading = asyncio.Lock()

    def load(self):
        """Loads all models, and starts the threads that predict. Raises UserError if one is not valid."""
        models = {name: load(name, path, **self.options) for name, path in self.paths.items()}
        self.batcher.start(share_cores(models.values()))
        self.models = models
        if self.state == LOADING:
            self.state = READY

    def find(self, name=None):
        """The model of this name, or the default one. Raises Unknown, or Refused if the server is not ready."""
        if self.state != READY:
            raise Refused(f"the server is {self.state}")
        name = name or next(iter(self.models))
        if name not in self.models:
            raise Unknown(f"there is no model {excerpt(name)!r}; there are: {listing(self.models)}")
        return self.models[name]

    async def predict(self, served, texts, options):
        """The predictions of texts as JSON objects, a list of str.

        Raises Refused, or UserError if a class is called like what `min_confidence` answers.
        """
        if options.min_confidence:
            check_unsure(served.predictor.hierarchy.names)
        self.active += 1
        try:
            return await self.batcher.predict(served, texts, options)
        finally:
            self.active -= 1

    async def reload(self):
        """Loads the models whose files have changed, while the old ones predict, and logs the result.

        Raises UserError if a file is not valid; then no model changes.
        """
        if self.state != READY:
            raise Refused(f"the server is {self.state}")
        async with self.reloading:
            try:
                new = await asyncio.to_thread(self._load_changed)
            except UserError as error:
                self.log.message(f"Not reloaded: {error}")
                raise
            self.models = self.models | new
            self.log.message(f"Reloaded: {', '.join(new) or 'no file has changed'}")

    def _load_changed(self):
        old = self.models
        changed = [name for name, path in self.paths.items() if version_of(path) != old[name].version]
        return {name: load(name, self.paths[name], **self.options) for name in changed}

    async def stop(self):
        """Refuses further requests, and waits for those that are there."""
        self.state = STOPPING
        while self.active:
            await asyncio.sleep(0.02)

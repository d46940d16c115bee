"""An exported directory as a predictor: onnxruntime computes, torch is not loaded."""

from cli.console import UserError
from exporting import predict_onnx
from serving.batcher import THREADS
from text.hierarchy import Hierarchy
from text.truncation import Truncation


class Exported:
    """What a server uses of `engine.predictor.Predict`, of an exported directory. No code in it is executed.

    cores: on which it computes. Raises UserError if the directory is no export.
    """

    def __init__(self, directory, cores):
        share = max(1, cores // THREADS)  # a network's batch is too small for several cores
        self.workers = cores // share, share  # as those of `engine.predictor.Predict`
        try:
            own = predict_onnx.Predict(directory, share)
            if any(member.vocabulary.tokenizer for member in own.members):  # an encoder's batch is not
                self.workers = 1, cores
                own = predict_onnx.Predict(directory, cores)
        except predict_onnx.ExportError as error:
            raise UserError(str(error)) from error
        self.name, self.classes, self.multi_label, self.limit = own.name, own.classes, own.multi_label, own.limit
        self.hierarchy = Hierarchy(own.classes, len(own.hierarchy.levels) > 1)
        self.truncations = []  # as those of `engine.predictor.Predict`
        for member in own.members:
            limit, mode, is_framed = member.truncation.limit, member.truncation.mode, member.vocabulary.end is not None
            segmenter = getattr(member.vocabulary, "segmenter", None)
            self.truncations.append((segmenter, Truncation(limit, mode, is_framed)))
        self.compute, self._thresholds = own.compute, own.thresholds

    def predicted(self, probabilities):
        """Whether each label is predicted, (N, C) bool."""
        return probabilities >= self._thresholds

"""How fast a checkpoint predicts on this machine: rows a second in bulk, and the latency of a single headline.

    python -m evaluation.timing --checkpoint THUCNews/saved_dict/TextCNN.ckpt --dataset THUCNews --device cpu

Prints a JSON object, with the number of parameters and the file's size. The texts are those of the test split.
"""

from cli.start import run_script

import itertools
import json
import time

import numpy as np

from cli.console import Parser
from cli.device_flags import add_device_flags
from cli.files import replacing
from text.labelled import read_split

PASSES, SECONDS = 5, 0.3  # number of passes over texts, whose median counts, and the duration of each at least
CALLS, WARM_UP = 400, 40  # of one headline each


def measure(predict_many, predict_one, texts):
    """The speed over these texts of a function that takes a list of them, and of one that takes a single text."""
    count = 16
    while _seconds(predict_many, _spread(texts, count)) < SECONDS:  # which also warms it up
        count *= 2
    rows = _spread(texts, count)
    passes = [_seconds(predict_many, rows) for _ in range(PASSES)]
    calls = [_seconds(predict_one, text) for text in _spread(texts, WARM_UP + CALLS)][WARM_UP:]
    p50, p99 = np.percentile(calls, [50, 99]) * 1000
    return {"rows_per_second": count / float(np.median(passes)), "p50_ms": float(p50), "p99_ms": float(p99)}


def _seconds(predict, what):
    start = time.perf_counter()
    predict(what)
    return time.perf_counter() - start


def _spread(texts, count):
    """This many texts from the whole split, which may be sorted by class, and again from its start if it is short."""
    step = max(1, len(texts) // count)
    return list(itertools.islice(itertools.cycle(texts[::step]), count))


def main():
    from engine.device import describe_device  # torch; the baselines measure without it
    from engine.predictor import Predict

    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="checkpoint file of a model or an ensemble")
    parser.add_argument("--dataset", required=True, help="directory of the dataset whose test split is predicted")
    add_device_flags(parser)
    parser.add_argument("--output", help="file to write (standard output)")
    args = parser.parse_args()

    texts, _ = read_split(args.dataset, "test")
    predictor = Predict(checkpoint=args.checkpoint, device=args.device, amp=args.amp)
    result = measure(predictor.predict_proba, predictor.predict, texts)
    result["parameters"] = sum(parameter.numel() for parameter in predictor.saved.model.parameters())
    result |= {"bytes": predictor.path.stat().st_size, "device": describe_device(predictor.device)}
    if args.output:
        with replacing(args.output, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
    else:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run_script(main)

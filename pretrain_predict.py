"""Classifies texts with a fine-tuned encoder.

    python pretrain_predict.py 体验2D巅峰 "60年铁树开花形状似玉米芯(组图)"     # texts as arguments; or a prompt
    python pretrain_predict.py --input news.txt --output news.tsv              # one text a line; - is standard input
    python pretrain_predict.py --input news.csv --text title --format jsonl    # .csv .tsv .jsonl: the texts of a column
    python pretrain_predict.py --model bert_CNN --dataset D --top_k 3 一条新闻  # default: the newest checkpoint

The checkpoint is enough: the encoder's directory is not needed. In Python, `Predict("bert", dataset="THUCNews")` has
`predict(text)`, `predict_list(texts)`, `predict_proba(texts)`.
"""

from cli.start import run_script

import predict
from engine import predictor
from models import ENCODERS


class Predict(predictor.Predict):
    """A fine-tuned encoder; see `engine.predictor.Predict`."""

    names = ENCODERS


def main():
    predict.main(Predict, __doc__)


if __name__ == "__main__":
    run_script(main)

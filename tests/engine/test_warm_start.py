"""Training on from a checkpoint, as a user runs it."""

import shutil

import numpy as np
import pytest
import torch

from conftest import ROOT, inside, join_rows, sample_rows, write_dataset, write_encoder
from engine import checkpoint, resume
from engine.predictor import Predict
from models.counts import Counts

FLAGS = ("--batch_size", 16, "--device", "cpu", "--amp", "off")
SMALL = (*FLAGS, "--num_epochs", 2, "--embed", 16, "--n_gram_vocab", 999, "--hidden_size", 32)
STILL = (*FLAGS, "--num_epochs", 1, "--learning_rate", 1e-12)  # the weights remain those that the training starts from
OLD, NEW = ["财经", "房产", "股票"], ["教育", "股票", "财经", "房产"]
INDEX = np.array([NEW.index(name) for name in OLD])


def rows_of(split, labels, count):
    """The first rows of the sample with these labels, as names."""
    return [(text, [*OLD, "教育"][label]) for text, label in sample_rows(split, labels, count)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset of three classes with a FastText, and one with a fourth class, of which alone it has training rows."""
    root = tmp_path_factory.mktemp("trained")
    write_dataset(root / "old", OLD, *(rows_of(name, {0, 1, 2}, 60) for name in ("train", "dev", "test")))
    splits = [rows_of(*part) for part in (("train", {3}, 20), ("dev", {0, 1, 2, 3}, 40), ("test", {1, 3}, 40))]
    write_dataset(root / "new", NEW, *splits)
    inside("run.py", "--model", "FastText", "--dataset", root / "old", *SMALL)
    return root


def train_on(root, output, *flags, check=True):
    init = ("--init", root / "old" / "saved_dict" / "FastText.ckpt")
    return inside("run.py", *init, "--dataset", root / "new", "--output", output, *flags, check=check)


def content(directory, model="FastText"):
    return torch.load(directory / "saved_dict" / f"{model}.ckpt", weights_only=True)


def test_old_tokens_and_classes_keep_their_weights_and_new_ones_get_their_own(trained, tmp_path):
    done = train_on(trained, tmp_path, *STILL)
    old, new = content(trained / "old"), content(tmp_path)
    unk = len(old["vocabulary"]["tokens"])
    added = len(new["vocabulary"]["tokens"]) - unk
    assert f"FastText.ckpt: 3 of its classes, 1 new classes (教育), {added} new tokens\n" in done.stderr
    assert "already" not in done.stderr
    assert added > 0
    assert new["vocabulary"]["tokens"][:unk] == old["vocabulary"]["tokens"]
    assert new["vocabulary"]["unk"] == unk
    ours, theirs = new["weights"], old["weights"]
    table = "model.tables.0.weight"
    torch.testing.assert_close(ours[table][: unk + 1], theirs[table][:-1])
    torch.testing.assert_close(ours[table][unk + 1 : -1], theirs[table][:-1].mean(dim=0).expand(added, -1))
    assert not ours[table][-1].any()
    for name in ("model.classifier.weight", "model.classifier.bias", "bias"):
        torch.testing.assert_close(ours[name][INDEX], theirs[name])
    for name in ("roots", "model.hidden.weight", "model.tables.1.weight"):
        torch.testing.assert_close(ours[name], theirs[name])
    rows = [Counts.unpacked(each["n_grams"]).rows for each in (old, new)]
    assert rows[1][INDEX].tolist() == rows[0].tolist()
    assert rows[1][0] == 20
    assert new["config"] | {"num_epochs": 2, "learning_rate": 4e-3} == old["config"]
    assert new["classes"] == NEW
    assert len(new["calibration"]["labels"]) == 40
    twice = inside(
        "run.py", "--init", tmp_path / "saved_dict" / "FastText.ckpt", "--dataset", trained / "old", *STILL,
        "--output", tmp_path / "twice",
    )  # fmt: skip
    assert "3 of its classes, 0 new classes, 0 new tokens" in twice.stderr
    assert "does not have 1 classes" in twice.stderr
    assert "(教育): the new model will not know them" in twice.stderr
    assert "60 of 60 training rows are in the n-gram counts" in twice.stderr
    back = content(tmp_path / "twice")
    assert back["vocabulary"] == new["vocabulary"]
    assert all(torch.equal(back["n_grams"][name], old["n_grams"][name]) for name in ("rows", "large"))


def test_the_same_dataset_gives_the_same_model(trained, tmp_path):
    shutil.copytree(trained / "old" / "data", tmp_path / "data")
    init = ("--init", trained / "old" / "saved_dict" / "FastText.ckpt")
    inside("run.py", *init, "--dataset", tmp_path, *STILL)
    old, new = content(trained / "old"), content(tmp_path)
    assert new["vocabulary"] == old["vocabulary"]
    assert all(torch.equal(new["n_grams"][name], old["n_grams"][name]) for name in old["n_grams"])
    texts = [text for text, _ in sample_rows("test", {0, 1, 2}, 20)]
    before, after = (Predict("FastText", dataset=path, device="cpu", amp="off") for path in (trained / "old", tmp_path))
    np.testing.assert_allclose(after.predict_proba(texts), before.predict_proba(texts), atol=1e-4)


def test_rows_of_which_other_tokens_are_read_do_not_count_twice(trained, tmp_path):
    flags = ("--dataset", trained / "old", "--long", "windows", "--pad_size", 5)
    done = train_on(trained, tmp_path, *flags, *STILL)
    assert "60 of 60 training rows are in the n-gram counts of" in done.stderr
    rows = [Counts.unpacked(content(directory)["n_grams"]).rows for directory in (trained / "old", tmp_path)]
    assert rows[0].tolist() == rows[1].tolist()


def test_words_that_were_unknown_get_rows_and_keep_others_apart(tmp_path):
    """The id of the unknown token stays, since the n-grams with it are counted under it."""
    words = [("好 看", 0), ("好 听", 0), ("难 看", 1), ("难 听", 1)]
    old = write_dataset(tmp_path / "old", ["好", "坏"], words)
    new = write_dataset(tmp_path / "new", ["好", "坏"], [("新 看", 0), ("旧 新", 1)])
    inside("run.py", "--dataset", old, "--word", "--segmenter", "space", "--max_vocab", 3, *STILL, "--embed", 8)
    init = ("--init", old / "saved_dict" / "TextCNN.ckpt")
    inside("run.py", *init, "--dataset", new, *STILL)
    before, after = content(old, "TextCNN"), content(new, "TextCNN")
    assert before["vocabulary"]["tokens"] == ["好", "看", "听"]
    aliases = after["vocabulary"].pop("aliases")
    assert "聽听" in aliases and "舊旧" in aliases  # of the old tokens and of the new ones
    assert after["vocabulary"] == {"tokens": ["好", "看", "听", "新", "旧"], "segmenter": "space", "unk": 3}
    table = "model.embedding.tokens.weight"
    torch.testing.assert_close(after["weights"][table][:4], before["weights"][table][:4])
    assert Predict(dataset=new).predict("好 看") in ("好", "坏")
    unsegmented = write_dataset(tmp_path / "u", ["好", "坏"], [("很好看的电影", 0), ("很难看的电影", 1)])
    warned = inside("run.py", *init, "--dataset", unsegmented, *STILL)
    assert "train.txt is not segmented by spaces, but the texts of the checkpoint were" in warned.stderr
    refused = inside("run.py", *init, "--dataset", new, "--word", "False", check=False)
    assert "--word False does not fit" in refused.stderr
    refused = inside("run.py", *init, "--dataset", new, "--segmenter", "jieba", check=False)
    assert "--segmenter jieba does not fit" in refused.stderr


def test_replayed_rows_are_added_to_the_own(trained, tmp_path):
    (tmp_path / "old" / "data").mkdir(parents=True)
    shutil.copy(trained / "old" / "data" / "class.txt", tmp_path / "old" / "data")
    text = (trained / "old" / "data" / "train.txt").read_text(encoding="utf-8")
    dev = (trained / "new" / "data" / "dev.txt").read_text(encoding="utf-8").splitlines()
    dev = [line for line in dev if not line.endswith("教育")][:7]
    (tmp_path / "old" / "data" / "train.txt").write_text(text + "\n\n".join(dev) + "\n", encoding="utf-8")
    replay = ("--replay", tmp_path / "old")
    done = train_on(trained, tmp_path / "all", *STILL, *replay)
    assert "train.txt: 60 of 67 rows replayed; 7 whose text is in" in done.stderr
    assert "6 blank lines skipped" in done.stderr
    assert "60 of 80 training rows are in the n-gram counts" in done.stderr
    assert "Iter:      5," in done.stdout  # 80 rows in batches of 16
    (cache,) = (trained / "new" / "cache").glob("replay-*")
    labels = np.bincount(np.load(cache / "labels.npy"), minlength=4)
    plain = tmp_path / "plain"
    train_on(trained, plain, *STILL)
    ours, theirs = content(tmp_path / "all"), content(plain)
    assert labels.tolist() == ours["n_grams"]["rows"].tolist()
    assert all(torch.equal(ours["n_grams"][name], theirs["n_grams"][name]) for name in theirs["n_grams"])
    again = train_on(trained, tmp_path / "all", *STILL, *replay, "--resume")
    assert "This run is finished" in again.stderr
    other = train_on(trained, tmp_path / "all", *STILL, *replay, "--replay_share", 0.5, "--resume", check=False)
    assert "replay_share is 1.0 there, 0.5 here" in other.stderr
    shared = train_on(trained, tmp_path / "share", *STILL, *replay, "--replay_share", 0.5)
    used = int(shared.stderr.split(" of 67 rows replayed")[0].split()[-1])
    assert 15 < used < 45
    assert f"{used} of {used + 20} training rows are in the n-gram counts" in shared.stderr


def test_an_interrupted_training_resumes_to_the_same_weights(trained, tmp_path, monkeypatch):
    flags = (*FLAGS, "--num_epochs", 3, "--replay", trained / "old", "--eval_every", 2, "--require_improvement", 9999)
    train_on(trained, tmp_path / "whole", *flags)
    save = resume.State.save

    def interrupted(self, progress, now=True):
        save(self, progress)
        if progress["step"] == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.State, "save", interrupted)
        assert train_on(trained, tmp_path / "broken", *flags, check=False).returncode == 130
    done = train_on(trained, tmp_path / "broken", *flags, "--resume")
    assert "Iter:      2," not in done.stdout
    whole, resumed = (content(tmp_path / name)["weights"] for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    changed = tmp_path / "saved_dict" / "FastText.ckpt"
    checkpoint.save(changed, checkpoint.load(trained / "old" / "saved_dict" / "FastText.ckpt"), store="int8")
    train_on(trained, tmp_path / "new", *STILL)
    init = ("--init", changed, "--dataset", trained / "new", "--output", tmp_path / "new", *STILL, "--resume")
    assert "init is '" in inside("run.py", *init, check=False).stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model", "DPCNN"), "is a checkpoint of FastText, not of DPCNN: leave --model out"),
        (("--word",), "--word True does not fit"),
        (("--embed", 300), "--embed 300 does not fit {init}, which has 16: leave --embed out"),
        (("--evidence", 0), "--evidence 0 does not fit"),
        (("--paper",), "--paper has no use with --init"),
        (("--embedding", "random"), "--embedding has no use with --init"),
        (("--output", "{old}"), "is the file that this training writes; use --output DIR"),
        (("--init", "none.ckpt"), "none.ckpt: no such file"),
        (("--replay_share", 0.5), "--replay_share 0.5 is for --replay: add"),
        (("--replay", "{old}", "--dataset", "{other}"), "2 classes that {other}/data/class.txt does not have: 房产"),
        (("--replay", "{new}", "--output", "o"), "{new}/data/train.txt has no row to add, of 20 rows 20 whose"),
        (("--replay", "{old}", "--teacher", "{init}", "--folds", 2), "--replay and --teacher cannot be combined"),
    ],
)  # fmt: skip
def test_what_does_not_fit_ends_in_one_line(trained, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    other = write_dataset(tmp_path / "other", ["财经"], [("好天气", 0)])
    init = trained / "old" / "saved_dict" / "FastText.ckpt"
    paths = {"old": trained / "old", "new": trained / "new", "other": other, "init": init}
    flags = [flag.format(**paths) if isinstance(flag, str) else flag for flag in flags]
    done = train_on(trained, tmp_path / "o", *STILL, *flags, check=False)
    assert done.returncode == 2
    assert message.format(**paths) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_checkpoints_of_other_kinds_are_refused(trained, tmp_path, tiny):
    encoder = ROOT / "tests" / "fixtures" / "bert.ckpt"
    refused = inside("run.py", "--init", encoder, "--dataset", tiny, check=False)
    assert "bert.ckpt is a checkpoint of bert: use python pretrain_run.py" in refused.stderr
    network = trained / "old" / "saved_dict" / "FastText.ckpt"
    refused = inside("pretrain_run.py", "--init", network, "--dataset", tiny, check=False)
    assert "FastText.ckpt is a checkpoint of FastText: use python run.py" in refused.stderr
    checkpoint.save_ensemble(tmp_path / "e.ckpt", [network, network], [0.5, 0.5], OLD, {})
    refused = inside("run.py", "--init", tmp_path / "e.ckpt", "--dataset", tiny, check=False)
    assert "e.ckpt is an ensemble: use the checkpoint of one of its members" in refused.stderr
    inside("run.py", "--model", "SVM", "--dataset", tiny, "--output", tmp_path, "--device", "cpu")
    refused = inside("run.py", "--init", tmp_path / "saved_dict" / "SVM.ckpt", "--dataset", tiny, check=False)
    assert "SVM.ckpt is a SVM, which trains in seconds: train it again on all the rows" in refused.stderr
    assert "--replay x is for training on" in inside("run.py", "--replay", "x", check=False).stderr


def test_a_checkpoint_of_an_earlier_version_and_too_many_classes_for_evidence(trained, tmp_path, tiny, monkeypatch):
    init = ("--init", ROOT / "tests" / "fixtures" / "TextCNN.ckpt", "--pad_size", 9)
    done = inside("run.py", *init, "--dataset", tiny, "--output", tmp_path, *STILL)
    assert "Test Acc" in done.stdout
    assert content(tmp_path, "TextCNN")["config"]["pad_size"] == 9
    monkeypatch.setattr("engine.counting.MOST_CLASSES", 3)
    done = train_on(trained, tmp_path, *STILL)
    assert "--evidence 0" in done.stderr
    assert content(tmp_path)["config"]["evidence"] == 0


def test_an_encoder_trains_on_without_its_files(tmp_path):
    write_encoder(tmp_path / "encoder")
    sets = [
        write_dataset(tmp_path / f"{len(c)}", c, rows_of("train", set(range(len(c))), 30))
        for c in (OLD, [*OLD, "教育"])
    ]
    flags = ("--batch_size", 16, "--num_epochs", 1, "--device", "cpu", "--amp", "off", "--pad_size", 12)
    inside("pretrain_run.py", "--bert_path", tmp_path / "encoder", "--dataset", sets[0], *flags)
    shutil.rmtree(tmp_path / "encoder")
    init = ("--init", sets[0] / "saved_dict" / "bert.ckpt", "--dataset", sets[1])
    done = inside("pretrain_run.py", *init, "--replay", sets[0], *flags, "--learning_rate", 1e-12)
    assert "3 of its classes, 1 new classes (教育), 0 new tokens" in done.stderr
    old, new = content(sets[0], "bert"), content(sets[1], "bert")
    for name, weight in old["weights"].items():
        torch.testing.assert_close(new["weights"][name][: len(weight)], weight, msg=name)
    refused = inside("pretrain_run.py", *init, "--output", tmp_path, "--scratch", check=False)
    assert "--scratch has no use with --init" in refused.stderr
    refused = inside("pretrain_run.py", *init, "--output", tmp_path, "--bert_path", "elsewhere", check=False)
    assert "--bert_path has no use with --init" in refused.stderr


def test_any_number_of_labels_train_on_with_new_classes_and_replayed_rows(several, trained, tmp_path):
    init = ("run.py", "--init", several / "saved_dict" / "FastText.ckpt", *STILL)
    inside("run.py", "--model", "FastText", "--dataset", several, *SMALL)
    old = content(several)
    splits = [[(text, "教育") for text, _ in rows_of("train", {3}, 20)], *(join_rows(s, 20) for s in ("dev", "test"))]
    new = write_dataset(tmp_path / "new", NEW, *splits)
    (new / "data" / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")
    done = inside(*init, "--dataset", new, "--replay", several)
    assert "120 of 120 rows replayed" in done.stderr
    assert "120 of 140 training rows are in the n-gram counts" in done.stderr
    found = content(new)
    rows = [Counts.unpacked(each["n_grams"]).rows.tolist() for each in (old, found)]
    assert rows[1] == [20, *(rows[0][OLD.index(name)] for name in NEW[1:]), 140]
    torch.testing.assert_close(found["weights"]["bias"][INDEX], old["weights"]["bias"])
    assert len(found["calibration"]["thresholds"]) == 4
    (cache,) = (new / "cache").glob("replay-*")
    labels = np.load(cache / "labels.npy").reshape(-1, 4)
    assert labels[:, 1:].sum(axis=0).tolist() == rows[1][1:4]
    for flags, message in (
        (("--dataset", trained / "new"), "predicts any number of labels a row, but rows in"),
        (("--dataset", new, "--replay", trained / "old"), f"rows of {new} have any number of labels, those of"),
    ):
        refused = inside(*init, *flags, "--output", tmp_path / "o", check=False)
        assert refused.returncode == 2 and message in refused.stderr

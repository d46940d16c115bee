import pytest

from cli.console import UserError
from text.kind import check_kind, is_multi_label


@pytest.mark.parametrize(("content", "kind"), [('{"multi_label": true}', True), ('{"multi_label": false}', False)])
def test_the_kind_is_in_dataset_json(tmp_path, content, kind):
    assert not is_multi_label(tmp_path)
    (tmp_path / "dataset.json").write_text(content, encoding="utf-8")
    assert is_multi_label(tmp_path) is kind


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"multi_label": 1}', '{"multi_label": true, "hierarchy": true}'])
def test_any_other_content_is_refused(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="dataset"):
        is_multi_label(tmp_path)


def test_a_checkpoint_of_the_other_kind_is_named(tmp_path):
    check_kind("a.ckpt", False, tmp_path)
    with pytest.raises(
        UserError, match=r"a\.ckpt predicts any number of labels a row, but rows in .* have one label; "
    ):
        check_kind("a.ckpt", True, tmp_path)
    (tmp_path / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")
    check_kind("a.ckpt", True, tmp_path)
    with pytest.raises(
        UserError, match=r"a\.ckpt predicts one label a row, but rows in .* have any number of labels; "
    ):
        check_kind("a.ckpt", False, tmp_path)

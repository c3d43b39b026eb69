"""The README says what is true: its tables are rendered, its example runs."""

import re
from pathlib import Path

from keras_hwcompress.formats.table import table
from keras_hwcompress.report.readme import render

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_tables_are_rendered_from_the_results():
    assert render(README) == README.read_text(encoding="utf-8"), "run: python -m keras_hwcompress.report.readme"


def test_every_weight_format_is_listed():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == {row.name: str(row.id) for row in table().formats}


def test_the_quickstart_runs_as_printed(tmp_path, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "quickstart"})
    printed = capsys.readouterr().out
    assert "bytes of flash" in printed and "3 of 3" in printed
    assert (tmp_path / "firmware" / "model" / "digits.c").is_file()

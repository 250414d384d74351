"""The tables that rows of measurements become."""

from benchmarks.label_fields import table


def line(row: str, scene: str, miou: float, **more) -> dict:
    costs = {"bytes_per_gaussian": 300.0, "seconds_per_iteration": 0.02}
    return {"row": row, "scene": scene, "seed": 0, "set": {}, "miou": miou, "teacher_miou": 0.4, **costs, **more}


def test_rows_are_compared_over_the_fields_that_both_have() -> None:
    lines = [line("logits", "a", 0.5), line("logits", "b", 0.7), line("vote", "b", 0.6), line("focal", "c", 0.9)]
    cells = [[cell.strip() for cell in text.split("|")[1:-1]] for text in table(lines).splitlines()[2:]]
    assert [row[:5] for row in cells] == [
        ["logits", "2", "60.0%", "40.0%", "+20.0%, +10.0%"],
        ["vote", "1", "60.0%", "40.0%", "+20.0%, +20.0%"],
        ["focal", "1", "90.0%", "40.0%", "+50.0%, +50.0%"],
    ]
    assert [row[5] for row in cells] == ["", "-10.0% (-10.0% to -10.0%)", ""]


def test_other_settings_are_another_row() -> None:
    lines = [line("logits", "a", 0.5), line("logits", "a", 0.6, set={"labelled_views": 2})]
    assert [text.split("|")[1].strip() for text in table(lines).splitlines()[2:]] == [
        "logits",
        'logits {"labelled_views": 2}',
    ]

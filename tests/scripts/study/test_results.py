"""The page of results: from records alone, and nothing that was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.study import results, runs


def _told(**means: Any) -> dict[str, Any]:
    ends = {k: [v - 0.05, v + 0.05] for k, v in means.items() if isinstance(v, float)}
    return {"summary": means, "intervals": ends, "bootstrap": {}}


def _record(variant: str, domain: str = "skin", **more: Any) -> dict[str, Any]:
    gain = {"frozen": 0.0, "apm": 0.1, "ips": 0.05, "apm+ips": 0.2}[variant]
    test = {
        "gt:16": _told(gt_prompted_dice=0.7 + gain, frozen_gt_prompted_dice=0.7),
        "click:1": _told(gt_prompted_dice=0.6, frozen_gt_prompted_dice=0.5),
        "noc": _told(gt_prompted_noc85=6.25, gt_prompted_noc85_failures=2),
    }
    if "apm" in variant:
        test |= {
            "auto": _told(automatic_dice=0.6 + gain, frozen_automatic_dice=0.65),
            "auto+click:1": _told(corrected_dice=0.7 + gain),
            "auto+noc": _told(corrected_noc85=2.5, corrected_noc85_failures=0),
        }
    record = {
        "kind": "ablation",
        "file": f"{domain}-{variant}.json",
        "command": f"python -m scripts.study.run_ablation --variant {variant}",
        "domain": domain,
        "variant": variant,
        "apm": "heatmap" if "apm" in variant else "",
        "points": 16,
        "labels": "all",
        "seed": 0,
        "options": {},
        "ips_kept": True,
        "images": {"training": 140},
        "test": {"ph2": test},
    }
    if variant == "frozen":
        best = _told(gt_prompted_dice=0.78)
        return record | {"best_mask": {"ph2": {"mask": 2, **best}}} | more
    cost = {"embed": 40.4, "apm": 20.0, "all": 70.0, "cpu": 120.0}
    record |= {"parameters": {"apm": 400_000, "ips": 100_000}, "megabytes": 1.0}
    return record | {"seconds": cost} | more


def _unet(**more: Any) -> dict[str, Any]:
    return _record("apm") | {
        "kind": "unet",
        "file": "unet.json",
        "command": "python -m scripts.study.train_unet",
        "parameters": {"unet": 7_330_000},
        "test": {"ph2": {"auto": _told(automatic_dice=0.77)}},
        **more,
    }


def _section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_without_runs_every_table_is_left_out_and_says_what_makes_it() -> None:
    text = results.page([])
    assert "|" not in text
    assert text.count("Not measured: `python -m scripts.") == len(results.TABLES)


def test_automatic_scores_and_scores_from_the_truth_have_columns_of_their_own() -> None:
    records = [_record(v) for v in ("apm+ips", "ips", "apm", "frozen")]
    header, rows = results.ablation(records)
    assert [row[2] for row in rows] == [
        "frozen SAM",
        "APM (heatmap)",
        "IPS",
        "APM (heatmap) + IPS",
    ]
    automatic, prompted = header.index("automatic"), header.index("gt:P")
    assert [row[automatic] for row in rows[:3:2]] == ["–", "–"]
    assert rows[3][automatic] == "0.800 [0.750, 0.850]"
    assert rows[0][prompted] == "0.700 [0.650, 0.750]"


def test_a_shift_that_was_left_out_is_said() -> None:
    _, rows = results.ablation([_record("apm+ips", ips_kept=False)])
    assert rows[0][2] == "APM (heatmap) + IPS, IPS left out"
    _, rows = results.ablation([_record("apm", options={"auxiliary": 0}, seed=2)])
    assert rows[0][2] == "APM (heatmap), auxiliary = 0, seed 2"


def test_ips_stands_beside_the_best_frozen_mask() -> None:
    header, rows = results.best_mask([_record("frozen"), _record("ips")])
    row = dict(zip(header, rows[0], strict=True))
    assert row["frozen, SAM's choice"].startswith("0.700")
    assert row["frozen, best mask"].startswith("0.780")
    assert row["mask"] == "2"
    assert row["IPS"].startswith("0.750")
    assert results.best_mask([_record("frozen"), _record("ips", points=3)])[1] == []


def test_clicks_from_scratch_and_after_auto_prompts_are_told_with_failures() -> None:
    header, rows = results.clicks([_record("apm+ips")])
    row = dict(zip(header, rows[0], strict=True))
    assert row["from scratch"].startswith("6.250")
    assert row["after automatic prompts"].startswith("2.500")
    assert rows[0][5] == "2"


def test_one_adapter_for_all_stands_beside_one_for_each() -> None:
    header, rows = results.joint([_record("apm+ips"), _record("apm+ips", "medical")])
    assert len(rows) == 1
    assert "all domains" in header
    assert results.joint([_record("apm+ips", "medical")])[1] == []


def test_the_gain_of_few_labels_is_a_share_of_that_of_all() -> None:
    few = _record("apm+ips", labels=10, ips_kept=False)
    few["test"]["ph2"]["auto"] = _told(automatic_dice=0.65)
    frozen = _record("frozen") | {"constant_mask": {"ph2": 0.5}}
    header, rows = results.labels([frozen, few, _record("apm+ips")])
    assert [row[2] for row in rows] == ["10", "all"]
    at = header.index("automatic") + 1
    assert [row[at] for row in rows] == ["50 %", "100 %"]  # from .5 to .8
    assert [row[at - 2] for row in rows] == ["0.500", "0.500"]
    assert results.labels([few])[1] == []


def test_another_draw_of_few_labels_is_a_share_of_the_same_gain() -> None:
    few = _record("apm+ips", labels=10)
    other = _record("apm+ips", labels=10, seed=1)
    frozen = _record("frozen") | {"constant_mask": {"ph2": 0.5}}
    for record, dice in ((few, 0.74), (other, 0.65)):
        record["test"]["ph2"]["auto"] = _told(automatic_dice=dice)
    header, rows = results.labels([other, frozen, _record("apm+ips"), few])
    at = header.index("automatic") + 1
    assert [row[at] for row in rows] == ["80 %", "50 %", "100 %"]
    assert ["seed 1" in row[1] for row in rows] == [False, True, False]


def test_runs_on_another_base_say_so_and_are_compared_with_their_like_only() -> None:
    old, new = {"base": {"sha256": "old"}}, {"base": {"sha256": "new"}}
    frozen, ips = _record("frozen", **old), _record("ips", **new)
    assert results.best_mask([frozen, ips])[1] == []
    assert (
        results.labels([_record("apm", labels=10, **old), _record("apm", **new)])[1]
        == []
    )
    table = _section(results.page([frozen, ips], base="new"), results.TABLES[0][0])
    assert "frozen SAM, on the base before" in table
    assert "IPS |" in table


def test_the_rival_is_compared_with_runs_on_the_same_labels_only() -> None:
    records = [_unet(), _record("apm+ips"), _record("apm", labels=10), _record("ips")]
    header, rows = results.rival(records)
    assert len(rows) == 1
    assert rows[0][header.index("U-Net")].startswith("0.770")
    assert rows[0][header.index("automatic")].startswith("0.800")


def test_costs_are_those_of_the_records() -> None:
    _, rows = results.costs([_record("frozen"), _record("apm"), _unet()])
    assert len(rows) == 2
    assert rows[0][5:9] == ("0.50 M", "1.0", "40", "70")
    assert rows[1][5] == "7.33 M"


def test_the_page_is_written_from_a_folder_and_names_what_made_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(_record("apm+ips")))
    (tmp_path / "reading.md").write_text("IPS helps little.")
    page = tmp_path / "results.md"
    arguments = ["--results", str(tmp_path), "--page", str(page)]
    results.main(arguments)
    text = page.read_text()
    assert "IPS helps little." in text
    assert "`a.json`: `python -m scripts.study.run_ablation --variant apm+ips`" in text
    assert "0.800 [0.750, 0.850]" in _section(text, "Frozen, APM, IPS and both")
    assert "Not measured" in _section(text, "A U-Net on the same images and seconds")
    (tmp_path / "broken.json").write_text("[]")
    with pytest.raises(ValueError, match=r"broken\.json is no record"):
        results.main(arguments)


def test_a_command_is_kept_without_the_folders_of_one_computer(monkeypatch) -> None:
    words = [
        "/somewhere/scripts/study/run_ablation.py",
        "--domain",
        "skin",
        "--cache",
        "/x",
    ]
    monkeypatch.setattr("sys.argv", [*words, "--results=/y", "--points", "3", "5"])
    assert runs.command() == (
        "python -m scripts.study.run_ablation --domain skin --points 3 5"
    )


def test_clicks_left_are_a_share_of_frozen_sams_alone_and_all_sets_together() -> None:
    def test(objects: int, stock: float, left: float) -> dict[str, Any]:
        scratch = {"objects": objects} | {
            f"frozen_gt_prompted_{noc}": stock for noc in ("noc85", "noc90")
        }
        after = {"objects": objects} | {
            f"corrected_{noc}": left for noc in ("noc85", "noc90")
        }
        return {"noc": _told(**scratch), "auto+noc+local": _told(**after)}

    tests = {"a": test(100, 10.0, 4.0), "b": test(300, 8.0, 6.0)}
    record = _record("apm+ips", "polyp", sets=["a", "b"], test=tests)
    _, rows = results.local([record, _record("apm+ips")])
    shares = [(row[0], row[2], row[-1]) for row in rows]
    assert shares[:3] == [
        ("a", ".85", "40 %"),
        ("a", ".90", "40 %"),
        ("b", ".85", "75 %"),
    ]
    assert ("together", ".85", "65 %") in shares  # (400 + 1800) / (1000 + 2400)
    assert len(rows) == 6, "runs that did not measure it have no row"

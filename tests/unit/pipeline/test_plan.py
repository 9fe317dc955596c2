"""Plans: the shipped ones are valid, faults name the nearest key, paths are resolved."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import yaml

from holdfast.core.config import parse
from holdfast.core.errors import ConfigError
from holdfast.pipeline.plan import Plan, load_plan
from holdfast.pipeline.quickstart import quickstart_plan


def shipped(name: str) -> dict[str, object]:
    text = resources.files("holdfast.pipeline.plans").joinpath(name).read_text("utf-8")
    content: dict[str, object] = yaml.safe_load(text)
    return content


@pytest.mark.parametrize("name", ["plan.yaml", "harbor.yaml"])
def test_shipped_plans_are_valid_and_complete(name: str) -> None:
    plan = parse(Plan, shipped(name), source=name)
    assert plan.arms == ("plain", "protected")


def test_the_template_states_defaults_where_it_does_not_say_otherwise() -> None:
    """A comment that shows another default than the code has would mislead."""
    content = shipped("plan.yaml")
    plan = parse(Plan, content, source="plan.yaml")
    assert plan.monitor == parse(Plan, shipped("harbor.yaml"), source="harbor.yaml").monitor


def test_all_faults_are_listed_with_the_nearest_name() -> None:
    content = shipped("harbor.yaml")
    content["trian"] = {}
    content["model"] = {"sorce": "harbor", "source": "harbor"}
    content["seed"] = "soon"
    with pytest.raises(ConfigError) as caught:
        parse(Plan, content, source="plan.yaml")
    text = str(caught.value)
    assert len(caught.value.faults) == 3
    assert "did you mean 'train'?" in text
    assert "did you mean 'source'?" in text
    assert "'seed'" in text


def test_an_arm_named_twice_is_refused() -> None:
    content = shipped("harbor.yaml")
    content["arms"] = ["plain", "plain"]
    with pytest.raises(ConfigError, match="arms"):
        parse(Plan, content, source="plan.yaml")


def test_relative_paths_are_relative_to_the_plan(tmp_path: Path) -> None:
    content = shipped("harbor.yaml")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "suite.csv").write_text("a\n")
    content["data"] = {"source": "rows.jsonl"}
    content["evaluate"] = {"suites": [{"spec": "harmbench:suite.csv"}, {"spec": "harbor-ladder"}]}
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(content))
    plan = load_plan(path)
    assert plan.data.source == str(tmp_path / "rows.jsonl")
    assert [s.spec for s in plan.evaluate.suites] == [
        f"harmbench:{tmp_path / 'suite.csv'}",
        "harbor-ladder",
    ]


def test_the_digest_names_the_run() -> None:
    assert quickstart_plan(seed=0).digest() == quickstart_plan(seed=0).digest()
    assert quickstart_plan(seed=0).digest() != quickstart_plan(seed=1).digest()


def test_a_plan_without_an_sae_keeps_its_digest() -> None:
    """Runs that began before plans could name one go on."""
    plan = quickstart_plan(seed=0)
    assert "sae" not in plan.model_dump(mode="json")["model"]
    named = plan.model_copy(update={"model": plan.model.model_copy(update={"sae": "harbor"})})
    assert named.model_dump(mode="json")["model"]["sae"] == "harbor"
    assert named.digest() != plan.digest()

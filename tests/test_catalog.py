from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.objectives.penalties import L2

# The notes' chapters, Chinese beside English.
CHAPTERS = {
    "0 基础理论 fundamentals",
    "1 基本部件 layers",
    "2 重要概念 concepts",
    "3 经典结构 architectures",
    "4 网络压缩 compression",
    "5 数据扩充 augmentation",
    "6 数据预处理 preprocessing",
    "7 参数初始化 initialization",
    "8 目标函数 objectives",
    "9 正则化 regularization",
    "10 网络训练 training",
    "11 不平衡样本 imbalance",
    "12 模型集成 ensembles",
    "13 数学 norms",
}


def test_index_reads_every_card_without_torch() -> None:
    code = (
        "import sys; from convsmith import catalog\n"
        "assert catalog.card('model', 'resnet20').arguments[:2] == ('num_classes', 'in_channels')\n"
        "assert 'torch' not in sys.modules and 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("key", sorted(catalog.index()), ids="-".join)
def test_card_tells_the_truth(key: tuple[str, str]) -> None:
    """What was read from the text is what Python finds, and every card is filled in."""
    import inspect

    card = catalog.card(*key)
    target = catalog.load(*key)
    parameters = inspect.signature(target).parameters.values()
    assert card.arguments == tuple(p.name for p in parameters if p.default is not inspect.Parameter.empty)
    assert card.summary.endswith("."), "a card needs a one-sentence docstring"
    assert card.chapter in CHAPTERS, "one name a chapter, or the index falls apart"
    assert card.source
    assert card.use


def test_unknown_names_answer_with_the_nearest() -> None:
    with pytest.raises(UserError, match="there is no model 'resnt20'; did you mean 'resnet20'"):
        catalog.build("model", "resnt20")
    with pytest.raises(UserError, match="sgd has no argument 'momentun'; did you mean 'momentum'"):
        catalog.build("optimizer", {"sgd": {"momentun": 0.9}}, params=[])


def test_values_out_of_range_are_refused_from_recipe_and_from_python() -> None:
    with pytest.raises(UserError, match=r"cross_entropy: smoothing=1.5 is not valid"):
        catalog.build("term", {"cross_entropy": {"smoothing": 1.5}})
    with pytest.raises(UserError, match=r"l2: weight=-1"):
        L2(weight=-1)
    with pytest.raises(UserError, match=r"l2: weight='much'"):
        L2(weight="much")  # type: ignore[arg-type]


def test_what_the_data_gives_can_not_be_set() -> None:
    with pytest.raises(UserError, match="num_classes follows from the data"):
        catalog.build("model", {"resnet20": {"num_classes": 3}}, num_classes=10)


def test_describe_gives_back_what_built_an_object() -> None:
    for kind, spec in [
        ("term", {"l2": {"weight": 0.25}}),
        ("model", {"resnet20": {"width": 4}}),
        ("schedule", {"step": {"milestones": (0.5,), "gamma": 0.2}}),
    ]:
        assert catalog.describe(catalog.build(kind, spec)) == spec
    assert catalog.describe(L2(weight=0.5)) == {"l2": {"weight": 0.5}}
    timm_net = catalog.build("model", "timm:resnet10t", num_classes=2)
    assert catalog.base_name(next(iter(catalog.describe(timm_net)))) == "timm"
    assert next(iter(catalog.describe(timm_net))) == "timm:resnet10t"
    with pytest.raises(TypeError, match="Linear was not built by a technique"):
        catalog.describe(nn.Linear(1, 1))


def test_optimizers_take_their_arguments() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = catalog.build("optimizer", {"adam": {"lr": 0.5, "beta1": 0.8}}, params=[parameter])
    assert optimizer.defaults["lr"] == 0.5
    assert optimizer.defaults["betas"] == (0.8, 0.999)

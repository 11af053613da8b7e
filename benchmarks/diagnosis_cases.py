"""What benchmarks/diagnosis.py trains: nets and data that go well together, and faults planted in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Base:
    """A net on a data set that trains well with these words."""

    data: str
    words: tuple[str, ...]
    lr: float


def _base(data: str, model: str, epochs: int, lr: float, *more: str) -> Base:
    return Base(data, (f"model={model}", f"train.epochs={epochs}", *more), lr)


BASES = {
    "digits lenet5": _base("digits", "lenet5", 15, 0.02, "data.size=16", "data.batch_size=32"),
    "digits resnet": _base("digits", "{resnet20: {width: 8}}", 10, 0.05, "data.batch_size=32"),
    "mnist lenet5": _base("mnist", "lenet5", 12, 0.02, "data.batch_size=32"),
    "mnist resnet": _base("mnist", "{resnet20: {width: 8}}", 8, 0.05, "data.batch_size=32"),
    "mnist 300": _base("mnist", "lenet300_100", 12, 0.02, "data.batch_size=32"),
    "digits 300": _base("digits", "lenet300_100", 15, 0.02, "data.batch_size=32"),
    "ships vgg": _base(
        "ships",
        "{vgg11: {width: 8, hidden: 64, norm: batch, dropout: none, init: {he: {fan: in}}}}",
        15,
        0.02,
        "data.batch_size=32",
    ),
    "animals resnet": _base("animals", "{resnet20: {width: 12}}", 15, 0.1, "data.batch_size=32"),
    "mnist vgg": _base(
        "mnist",
        "{vgg11: {width: 8, hidden: 64, norm: batch, dropout: none, init: {he: {fan: in}}}}",
        10,
        0.02,
        "data.batch_size=32",
        "data.size=32",
    ),
    "digits vgg": _base(
        "digits",
        "{vgg11: {width: 6, hidden: 48, norm: batch, dropout: none, init: {he: {fan: in}}}}",
        12,
        0.02,
        "data.batch_size=32",
        "data.size=32",
        "train.seed=1",
    ),
    "mnist resnet44": _base("mnist", "{resnet44: {width: 4}}", 8, 0.05, "data.batch_size=32", "train.seed=1"),
    "deer lenet5": _base("deer", "lenet5", 15, 0.01, "data.batch_size=32", "train.seed=1"),
    "digits resnet1": _base("digits", "{resnet32: {width: 1}}", 12, 0.05, "data.batch_size=32"),
    "digits resnet32": _base("digits", "{resnet32: {width: 8}}", 10, 0.05, "data.batch_size=32"),
    "frogs resnet32": _base("frogs", "{resnet32: {width: 8}}", 18, 0.1, "data.batch_size=32"),
    "frogs vgg": _base(
        "frogs",
        "{vgg11: {width: 8, hidden: 64, norm: batch, dropout: none, init: {he: {fan: in}}}}",
        15,
        0.02,
        "data.batch_size=32",
        "train.seed=2",
    ),
    "digits timm": _base("digits", "timm:resnet10t", 10, 0.05, "data.batch_size=32", "data.size=32"),
    "mnist elu": _base(
        "mnist", "{lenet5: {activation: elu}}", 12, 0.01, "data.batch_size=64", "train.seed=3"
    ),
    "cifar resnet": _base("cifar", "{resnet20: {width: 8}}", 18, 0.1, "data.batch_size=32"),
}
# Of CIFAR-10 three classes that a small net learns well within a minute: the healthy must be healthy.
EASY = {
    "cifar": ["airplane", "automobile", "frog"],
    "ships": ["bird", "ship", "truck"],
    "animals": ["cat", "horse", "truck"],
    "deer": ["automobile", "deer", "ship"],
    "frogs": ["cat", "frog", "ship"],
}
PLAIN = "model={resnet20: {width: 8, plain: true, norm: none, activation: %s, init: {gaussian: {std: %s}}}}"

TUNED = ("digits lenet5", "digits resnet", "mnist lenet5", "cifar resnet")

DEEP = "model={resnet%d: {width: 8, plain: true}}"

# Fault: the names that count as found, and how it is planted on a base; a rate stands for a factor.
FAULTS: dict[str, tuple[frozenset[str], dict[str, tuple[str, ...]]]] = {
    "rate x 30": (
        frozenset({"rate_too_high"}),
        dict.fromkeys(TUNED, ("rate=30",)),
    ),
    "rate / 100": (
        frozenset({"rate_too_low"}),
        dict.fromkeys(TUNED, ("rate=0.01",)),
    ),
    "huge weight decay": (
        frozenset({"under_fitting"}),
        {
            "digits lenet5": ("objective.l2.weight=0.3",),
            "digits resnet": ("objective.l2.weight=3",),
            "cifar resnet": ("objective.l2.weight=0.1",),
        },
    ),
    "net too small": (
        frozenset({"under_fitting"}),
        {
            "cifar resnet": ("model={resnet20: {width: 1}}",),
            "digits resnet": ("model={resnet20: {width: 1}}",),
        },
    ),
    "dropout too strong": (
        frozenset({"under_fitting"}),
        {
            "mnist lenet5": ("model.lenet5.dropout={inverted: {p: 0.95}}",),
            "digits lenet5": ("model.lenet5.dropout={inverted: {p: 0.98}}",),
        },
    ),
    "40% of labels shuffled": (
        frozenset({"label_noise"}),
        dict.fromkeys(
            ("digits lenet5", "mnist lenet5", "cifar resnet"),
            ("data.label_noise={type: symmetric, rate: 0.4}",),
        ),
    ),
    "50 training images": (
        frozenset({"over_fitting"}),
        {
            "digits lenet5": ("few", "train.epochs=40"),
            "mnist lenet5": ("few", "train.epochs=40"),
            "cifar resnet": ("few", "train.epochs=60"),
        },
    ),
    "sigmoid, 20 layers, Gaussian": (
        frozenset({"vanishing_gradients"}),
        {
            "digits resnet": (PLAIN % ("sigmoid", 0.01),),
            "cifar resnet": (PLAIN % ("sigmoid", 0.01), "train.epochs=8"),
            "mnist lenet5": (PLAIN % ("sigmoid", 0.05), "train.epochs=5"),
        },
    ),
    "20 layers, Gaussian of 0.3": (
        frozenset({"exploding_gradients", "rate_too_high"}),
        {
            "digits resnet": (PLAIN % ("relu", 0.3),),
            "cifar resnet": (PLAIN % ("relu", 0.3), "train.epochs=8"),
        },
    ),
    "56 layers or more, no shortcuts": (
        frozenset({"exploding_gradients"}),
        {
            "digits resnet": (DEEP % 56, "train.epochs=5"),
            "cifar resnet": (DEEP % 110, "train.epochs=3"),
        },
    ),
    "one class has 95%": (
        frozenset({"collapse"}),
        {
            "digits lenet5": ("uneven",),
            "mnist lenet5": ("uneven", "rate=0.1"),
            "cifar resnet": ("uneven",),
        },
    ),
    "rate stays high": (
        frozenset({"rate_too_high_later", "plateau", "rate_too_high"}),
        {
            "digits resnet": ("schedule=constant", "rate=3", "data.batch_size=8", "train.epochs=14"),
            "cifar resnet": ("schedule=constant", "rate=5", "data.batch_size=32"),
            "mnist lenet5": ("schedule=constant", "rate=0.25", "data.batch_size=8"),
        },
    ),
    "25 validation images": (
        frozenset({"noisy_validation"}),
        {
            "digits lenet5": ("data.val=0.018",),
            "mnist lenet5": ("data.val=0.0125",),
            "cifar resnet": ("data.val=0.005",),
        },
    ),
    "rate x 8": (
        frozenset({"dead_units", "rate_too_high"}),
        {
            "digits lenet5": ("rate=8",),
            "mnist lenet5": ("rate=8",),
        },
    ),
}
HEALTHY: dict[str, tuple[str, tuple[str, ...]]] = {
    "as it is": ("digits lenet5", ()),
    "residual net": ("digits resnet", ()),
    "MNIST": ("mnist lenet5", ()),
    "CIFAR-10": ("cifar resnet", ()),
    "Adam": ("digits lenet5", ("optimizer={adam: {lr: 0.001}}",)),
    "RMSProp": ("mnist lenet5", ("optimizer={rmsprop: {lr: 0.0005}}",)),
    "AdamW": ("cifar resnet", ("optimizer={adamw: {lr: 0.003}}",)),
    "dropout 0.5": ("mnist lenet5", ("model.lenet5.dropout={inverted: {p: 0.5}}",)),
    "step decay": ("digits resnet", ("schedule=step",)),
    "running average": ("digits lenet5", ("train.ema.decay=0.99",)),
    "rising momentum": ("mnist lenet5", ("optimizer.sgd.momentum_start=0.5",)),
    "label smoothing": ("digits resnet", ("objective.cross_entropy.smoothing=0.1",)),
    "exponential decay": ("cifar resnet", ("schedule=exponential",)),
    "batch of 128": ("cifar resnet", ("data.batch_size=128",)),
    "ELU": ("mnist lenet5", ("model.lenet5.activation=elu",)),
    "no augmentation": ("digits lenet5", ("data.augment={}",)),
}


LENET300 = "model.lenet300_100.dropout={inverted: {p: %s}}"
# Held back at first; see above.
SECOND: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("rate x 30", "mnist resnet", ("rate=30",)),
    ("rate x 30", "ships vgg", ("rate=30",)),
    ("rate x 30", "digits 300", ("rate=30",)),
    ("rate / 100", "mnist resnet", ("rate=0.01",)),
    ("rate / 100", "ships vgg", ("rate=0.01",)),
    ("rate / 100", "digits 300", ("rate=0.01",)),
    ("huge weight decay", "ships vgg", ("objective.l2.weight=0.3",)),
    ("huge weight decay", "digits 300", ("objective.l2.weight=0.3",)),
    ("net too small", "mnist resnet", ("model={resnet20: {width: 1}}", "train.epochs=4")),
    ("dropout too strong", "mnist 300", (LENET300 % 0.98,)),
    ("40% of labels shuffled", "mnist resnet", ("data.label_noise={type: pair, rate: 0.4}",)),
    ("40% of labels shuffled", "ships vgg", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("50 training images", "mnist resnet", ("few", "train.epochs=40")),
    ("50 training images", "ships vgg", ("few", "train.epochs=40")),
    ("50 training images", "digits 300", ("few", "train.epochs=60")),
    ("sigmoid, 20 layers, Gaussian", "mnist resnet", (PLAIN % ("sigmoid", 0.02),)),
    ("20 layers, Gaussian of 0.3", "mnist resnet", (PLAIN % ("relu", 0.5),)),
    ("one class has 95%", "ships vgg", ("uneven",)),
    ("one class has 95%", "digits 300", ("uneven",)),
    ("rate stays high", "ships vgg", ("schedule=constant", "rate=4", "data.batch_size=16")),
    ("25 validation images", "ships vgg", ("data.val=0.012",)),
    ("healthy: residual net", "mnist resnet", ()),
    ("healthy: VGG", "ships vgg", ()),
    ("healthy: perceptron", "digits 300", ()),
    ("healthy: perceptron", "mnist 300", ()),
    ("healthy: Adam", "mnist resnet", ("optimizer={adam: {lr: 0.003}}",)),
    ("healthy: constant rate", "digits 300", ("schedule=constant", "rate=0.5")),
    ("healthy: 1/t", "ships vgg", ("schedule={inverse_time: {k: 20, warmup: 1}}",)),
    ("healthy: Adagrad", "digits 300", ("optimizer={adagrad: {lr: 0.02}}",)),
)


# Held back next; see above.
THIRD: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("rate x 30", "animals resnet", ("rate=30",)),
    ("rate x 30", "mnist vgg", ("rate=30",)),
    ("rate x 30", "digits resnet32", ("rate=30",)),
    ("rate / 100", "animals resnet", ("rate=0.01",)),
    ("rate / 100", "mnist vgg", ("rate=0.01",)),
    ("rate / 100", "digits resnet32", ("rate=0.01",)),
    ("huge weight decay", "mnist vgg", ("objective.l2.weight=0.5",)),
    ("huge weight decay", "digits resnet32", ("objective.l2.weight=3",)),
    ("net too small", "animals resnet", ("model={resnet20: {width: 1}}",)),
    ("dropout too strong", "mnist vgg", ("model.vgg11.dropout={inverted: {p: 0.97}}",)),
    ("40% of labels shuffled", "animals resnet", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("40% of labels shuffled", "mnist vgg", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("40% of labels shuffled", "digits resnet32", ("data.label_noise={type: pair, rate: 0.4}",)),
    ("50 training images", "animals resnet", ("few", "train.epochs=60")),
    ("50 training images", "digits resnet32", ("few", "train.epochs=40")),
    ("sigmoid, 20 layers, Gaussian", "animals resnet", (PLAIN % ("sigmoid", 0.02), "train.epochs=6")),
    ("20 layers, Gaussian of 0.3", "digits resnet32", (PLAIN % ("relu", 0.4),)),
    ("one class has 95%", "animals resnet", ("uneven",)),
    ("one class has 95%", "mnist vgg", ("uneven",)),
    ("rate stays high", "animals resnet", ("schedule=constant", "rate=4", "data.batch_size=16")),
    ("rate stays high", "mnist vgg", ("schedule=constant", "rate=3", "data.batch_size=8")),
    ("25 validation images", "animals resnet", ("data.val=0.012",)),
    ("healthy: residual net", "animals resnet", ()),
    ("healthy: VGG", "mnist vgg", ()),
    ("healthy: 32 layers", "digits resnet32", ()),
    ("healthy: Adam", "animals resnet", ("optimizer={adam: {lr: 0.003}}",)),
    ("healthy: RMSProp", "mnist vgg", ("optimizer={rmsprop: {lr: 0.001}}",)),
    ("healthy: constant rate", "digits resnet32", ("schedule=constant", "rate=0.3")),
    ("healthy: step decay", "animals resnet", ("schedule=step",)),
    ("healthy: no augmentation", "mnist vgg", ("data.augment={}",)),
)


# Other nets, on other images, looked at when the thresholds stood.
HELD: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("rate x 30", "digits vgg", ("rate=30",)),
    ("rate x 30", "mnist resnet44", ("rate=30",)),
    ("rate x 30", "deer lenet5", ("rate=30",)),
    ("rate / 100", "digits vgg", ("rate=0.01",)),
    ("rate / 100", "mnist resnet44", ("rate=0.01",)),
    ("rate / 100", "deer lenet5", ("rate=0.01",)),
    ("huge weight decay", "deer lenet5", ("objective.l2.weight=0.3",)),
    ("huge weight decay", "mnist resnet44", ("objective.l2.weight=2",)),
    ("net too small", "digits resnet1", ()),
    ("dropout too strong", "deer lenet5", ("model.lenet5.dropout={inverted: {p: 0.97}}",)),
    ("40% of labels shuffled", "digits vgg", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("40% of labels shuffled", "mnist resnet44", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("50 training images", "digits vgg", ("few", "train.epochs=40")),
    ("50 training images", "deer lenet5", ("few", "train.epochs=60")),
    ("sigmoid, 20 layers, Gaussian", "mnist resnet44", (PLAIN % ("sigmoid", 0.03), "train.epochs=4")),
    ("20 layers, Gaussian of 0.3", "mnist resnet44", (PLAIN % ("relu", 0.6),)),
    ("one class has 95%", "digits vgg", ("uneven",)),
    ("one class has 95%", "deer lenet5", ("uneven",)),
    ("rate stays high", "mnist resnet44", ("schedule=constant", "rate=8", "data.batch_size=16")),
    ("25 validation images", "deer lenet5", ("data.val=0.012",)),
    ("healthy: VGG", "digits vgg", ()),
    ("healthy: 44 layers", "mnist resnet44", ()),
    ("healthy: LeNet-5", "deer lenet5", ()),
    ("healthy: Adam", "digits vgg", ("optimizer={adam: {lr: 0.002}}",)),
    ("healthy: AdamW", "mnist resnet44", ("optimizer={adamw: {lr: 0.003}}",)),
    ("healthy: batch of 64", "digits vgg", ("data.batch_size=64",)),
    ("healthy: running average", "deer lenet5", ("train.ema.decay=0.99",)),
    # These came later, with the rule for gradients that grow; no rule was changed after them.
    ("rate x 30", "frogs vgg", ("rate=30",)),
    ("rate x 30", "frogs resnet32", ("rate=30",)),
    ("rate x 30", "digits timm", ("rate=30",)),
    ("rate x 30", "mnist elu", ("rate=30",)),
    ("rate / 100", "frogs vgg", ("rate=0.01",)),
    ("rate / 100", "frogs resnet32", ("rate=0.01",)),
    ("rate / 100", "digits timm", ("rate=0.01",)),
    ("rate / 100", "mnist elu", ("rate=0.01",)),
    ("huge weight decay", "frogs vgg", ("objective.l2.weight=0.3",)),
    ("huge weight decay", "digits timm", ("objective.l2.weight=3",)),
    ("huge weight decay", "mnist elu", ("objective.l2.weight=0.5",)),
    ("dropout too strong", "frogs vgg", ("model.vgg11.dropout={inverted: {p: 0.98}}",)),
    ("dropout too strong", "mnist elu", ("model.lenet5.dropout={inverted: {p: 0.97}}",)),
    ("40% of labels shuffled", "frogs vgg", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("40% of labels shuffled", "digits timm", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("40% of labels shuffled", "mnist elu", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("50 training images", "frogs vgg", ("few", "train.epochs=60")),
    ("50 training images", "digits timm", ("few", "train.epochs=40")),
    ("50 training images", "mnist elu", ("few", "train.epochs=60")),
    ("sigmoid, 20 layers, Gaussian", "frogs resnet32", (PLAIN % ("sigmoid", 0.02), "train.epochs=6")),
    ("20 layers, Gaussian of 0.3", "mnist elu", (PLAIN % ("elu", 0.5), "train.epochs=4")),
    ("56 layers or more, no shortcuts", "mnist resnet44", (DEEP % 56, "train.epochs=4")),
    ("56 layers or more, no shortcuts", "frogs resnet32", (DEEP % 110, "train.epochs=3")),
    ("one class has 95%", "frogs vgg", ("uneven",)),
    ("one class has 95%", "mnist elu", ("uneven",)),
    ("rate stays high", "frogs resnet32", ("schedule=constant", "rate=4", "data.batch_size=16")),
    ("rate stays high", "digits timm", ("schedule=constant", "rate=5", "data.batch_size=8")),
    ("25 validation images", "frogs vgg", ("data.val=0.012",)),
    ("25 validation images", "mnist elu", ("data.val=0.0125",)),
    ("healthy: 32 layers", "frogs resnet32", ()),
    ("healthy: VGG", "frogs vgg", ()),
    ("healthy: timm's ResNet", "digits timm", ()),
    ("healthy: ELU", "mnist elu", ()),
    ("healthy: Adam", "frogs vgg", ("optimizer={adam: {lr: 0.002}}",)),
    ("healthy: batch of 128", "digits timm", ("data.batch_size=128", "rate=2")),
    ("healthy: no augmentation", "mnist elu", ("data.augment={}",)),
)


# Looked at last, at the thresholds that stand now: long trainings, other objectives, `--auto`.
LATER: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("healthy: 60 epochs", "digits lenet5", ("train.epochs=60",)),
    ("healthy: 60 epochs, step decay", "digits 300", ("train.epochs=60", "schedule=step")),
    ("healthy: 100 epochs", "mnist 300", ("train.epochs=100",)),
    ("healthy: hinge", "digits lenet5", ("objective={hinge: {}, l2: {weight: 0.0005}}", "rate=0.5")),
    ("healthy: squared hinge", "mnist lenet5", ("objective={hinge: {squared: true}}", "rate=0.5")),
    ("healthy: large margin", "digits 300", ("objective={large_margin: {m: 2}}", "train.epochs=30")),
    ("healthy: large margin of 4", "mnist lenet5", ("objective={large_margin: {m: 4}}", "rate=0.25")),
    ("healthy: center loss", "digits lenet5", ("objective={cross_entropy: {}, center: {}}",)),
    ("healthy: logit adjustment", "mnist 300", ("objective={logit_adjustment: {}}",)),
    ("healthy: smoothing of 0.2", "digits 300", ("objective.cross_entropy.smoothing=0.2",)),
    ("healthy: --auto, cosine", "digits lenet5", ("train.auto=true",)),
    ("healthy: --auto, constant rate", "digits 300", ("train.auto=true", "schedule=constant", "rate=0.5")),
    ("healthy: --auto, 60 epochs", "mnist 300", ("train.auto=true", "train.epochs=60")),
    ("healthy: --auto, large margin", "digits lenet5", ("train.auto=true", "objective={large_margin: {}}")),
    ("healthy: validation within epochs", "digits lenet5", ("train.validate_every=10",)),
    ("healthy: average, constant rate", "digits 300", ("train.ema.decay=0.95", "schedule=constant")),
    ("rate x 30", "mnist 300", ("rate=30", "objective={hinge: {}}")),
    ("rate / 100", "mnist 300", ("rate=0.01", "objective={hinge: {}}")),
    ("40% of labels shuffled", "digits 300", ("data.label_noise={type: symmetric, rate: 0.4}",)),
    ("50 training images", "mnist 300", ("few", "train.epochs=40")),
)


@dataclass(frozen=True)
class Case:
    name: str
    base: str
    words: tuple[str, ...]
    expected: frozenset[str]
    held: bool = False

    @property
    def folder(self) -> str:
        return "".join(c if c.isalnum() else "_" for c in f"{self.name} {self.base}")


def cases() -> list[Case]:
    """All of the bench."""
    planted = [
        (fault, base, words, expected)
        for fault, (expected, places) in FAULTS.items()
        for base, words in places.items()
    ]
    none: frozenset[str] = frozenset()
    healthy = [(f"healthy: {name}", base, words, none) for name, (base, words) in HEALTHY.items()]
    found = [Case(name, base, words, expected) for name, base, words, expected in planted + healthy]
    for places, held in ((SECOND, False), (THIRD, False), (HELD, True), (LATER, True)):
        for name, base, words in places:
            expected = FAULTS[name][0] if name in FAULTS else frozenset()
            found.append(Case(name, base, words, expected, held=held))
    return found

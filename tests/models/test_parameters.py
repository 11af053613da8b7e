"""Parameters of each net, to the last one, as its paper (or the reference implementation of it) has them."""

from __future__ import annotations

import pytest
import torch

from convsmith import catalog

# name, arguments, parameters, where the number stands or follows from
COUNTS = [
    # Caffe's lenet.prototxt; Han et al. 2015, table 1, gives 431K and 267K.
    ("lenet5", {}, 431_080),
    ("lenet300_100", {}, 266_610),
    # 96 11x11, 256 5x5 in two groups, 384 3x3, 384 and 256 in two groups, 4096, 4096, 1000: "60 million".
    ("alexnet", {}, 60_965_224),
    # Krizhevsky 2014 (one branch), torchvision's alexnet.
    ("alexnet", {"branches": 1}, 61_100_840),
    # Simonyan & Zisserman 2015, table 2: 133, 133, 138, 144 million; torchvision's, to the last.
    ("vgg11", {}, 132_863_336),
    ("vgg13", {}, 133_047_848),
    ("vgg16", {}, 138_357_544),
    ("vgg19", {}, 143_667_240),
    ("vgg11", {"norm": "batch"}, 132_868_840),
    ("vgg16", {"norm": "batch"}, 138_365_992),
    # Lin et al. 2014, for CIFAR-10: the sum of the published configuration, 0.97M in later papers.
    ("nin", {}, 966_986),
    # Springenberg et al. 2015, table 2: "about 1.4M".
    ("allcnn", {}, 1_369_738),
    # He et al. 2016, table 1; torchvision's, to the last.
    ("resnet18", {}, 11_689_512),
    ("resnet34", {}, 21_797_672),
    ("resnet50", {}, 25_557_032),
    ("resnet101", {}, 44_549_160),
    ("resnet152", {}, 60_192_808),
    # Plain nets lack the 1x1 shortcuts and their norms: 172,032 + 3 * 2 * ... of ResNet-18's.
    ("resnet18", {"plain": True}, 11_689_512 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512))),
    # He et al. 2016, table 6: 0.27M, 0.46M, 0.66M, 0.85M, 1.7M; shortcuts have no parameters.
    ("resnet20", {}, 269_722),
    ("resnet32", {}, 464_154),
    ("resnet44", {}, 658_586),
    ("resnet56", {}, 853_018),
    ("resnet110", {}, 1_727_962),
    ("resnet20", {"plain": True}, 269_722),
    # Szegedy et al. 2015, table 1, with biases: Caffe's bvlc_googlenet without its auxiliary classifiers.
    ("googlenet", {}, 6_998_552),
    # 3x3 in the place of 5x5, norms in the place of biases: torchvision's without auxiliary classifiers.
    ("googlenet", {"large": 3, "norm": "batch"}, 6_624_904),
    # Iandola et al. 2016, table 1: 1,248,424; 1.1 as in the authors' repository.
    ("squeezenet1_0", {}, 1_248_424),
    ("squeezenet1_1", {}, 1_235_496),
    # Srivastava et al. 2015: 50 units a layer, two matrices and biases each: 5,100 a layer.
    ("highway10", {}, 784 * 50 + 50 + 8 * 5_100 + 50 * 10 + 10),
    ("highway100", {}, 784 * 50 + 50 + 98 * 5_100 + 50 * 10 + 10),
]


@pytest.mark.parametrize(("name", "arguments", "count"), COUNTS)
def test_count(name: str, arguments: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # no memory for 140 million numbers
        net = catalog.build("model", {name: arguments})
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_every_net_is_counted() -> None:
    """But for the depths between, and the convolutional highway net, whose widths the paper doesn't give."""
    counted = {name for name, _, _ in COUNTS}
    rest = (
        set(catalog.names("model")) - counted - {"timm", "fully_convolutional", "with_convolution", "source"}
    )
    assert rest == {"highway20", "highway50", "highway_cnn10", "highway_cnn19", "highway_cnn31"}


def test_googlenet_by_the_rows_of_the_papers_table() -> None:
    """Summed from table 1's columns: input, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj."""
    rows = [
        (192, 64, 96, 128, 16, 32, 32),
        (256, 128, 128, 192, 32, 96, 64),
        (480, 192, 96, 208, 16, 48, 64),
        (512, 160, 112, 224, 24, 64, 64),
        (512, 128, 128, 256, 24, 64, 64),
        (512, 112, 144, 288, 32, 64, 64),
        (528, 256, 160, 320, 32, 128, 128),
        (832, 256, 160, 320, 32, 128, 128),
        (832, 384, 192, 384, 48, 128, 128),
    ]

    def conv(i: int, o: int, k: int) -> int:
        return i * o * k * k + o

    total = conv(3, 64, 7) + conv(64, 64, 1) + conv(64, 192, 3) + 1024 * 1000 + 1000
    for i, one, r3, three, r5, five, pool in rows:
        total += conv(i, one, 1) + conv(i, r3, 1) + conv(r3, three, 3)
        total += conv(i, r5, 1) + conv(r5, five, 5) + conv(i, pool, 1)
    assert total == 6_998_552

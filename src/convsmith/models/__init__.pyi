# Written by tools/stubs.py; tests/test_typing.py compares.
from convsmith.models.backbones import backbone as backbone
from convsmith.models.highway import highway_cnn as highway_cnn
from convsmith.models.lenet import lenet300_100 as lenet300_100
from convsmith.models.lenet import lenet5 as lenet5
from convsmith.models.resnet import small_resnet as small_resnet

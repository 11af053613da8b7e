# Written by tools/stubs.py; tests/test_typing.py compares.
from convsmith.errors import UserError as UserError
from convsmith.run.predictor import load as load
from convsmith.verbs.advise import advise as advise
from convsmith.verbs.augment import augment as augment
from convsmith.verbs.compare import compare as compare
from convsmith.verbs.diagnose import diagnose as diagnose
from convsmith.verbs.evaluate import evaluate as evaluate
from convsmith.verbs.evaluate import predict as predict
from convsmith.verbs.evaluate import report as report
from convsmith.verbs.inspect import features as features
from convsmith.verbs.inspect import inspect as inspect
from convsmith.verbs.inspect import response_maps as response_maps
from convsmith.verbs.lr_range import lr_range as lr_range
from convsmith.verbs.summary import summary as summary
from convsmith.verbs.summary import techniques as techniques
from convsmith.verbs.train import train as train

__version__: str
__all__: list[str]

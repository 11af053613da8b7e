# Written by tools/stubs.py; tests/test_typing.py compares.
from convsmith.errors import UserError as UserError
from convsmith.inference.model_file import load as load
from convsmith.inference.predictor import Predictor as Predictor
from convsmith.run.run import Run as Run
from convsmith.verbs.advise import advise as advise
from convsmith.verbs.augment import augment as augment
from convsmith.verbs.compare import compare as compare
from convsmith.verbs.diagnose import diagnose as diagnose
from convsmith.verbs.evaluate import evaluate as evaluate
from convsmith.verbs.features import features as features
from convsmith.verbs.fit import fit as fit
from convsmith.verbs.inspect import inspect as inspect
from convsmith.verbs.lr_range import lr_range as lr_range
from convsmith.verbs.predict import predict as predict
from convsmith.verbs.report import report as report
from convsmith.verbs.response_maps import response_maps as response_maps
from convsmith.verbs.score_map import score_map as score_map
from convsmith.verbs.summary import summary as summary
from convsmith.verbs.techniques import techniques as techniques
from convsmith.verbs.train import train as train

__version__: str
__all__: list[str]

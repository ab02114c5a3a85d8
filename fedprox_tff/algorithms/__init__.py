# SPDX-License-Identifier: Apache-2.0
"""Federated algorithms by their names on the command line.

Each is the function of that name in the module of that name, and its keyword parameters are its flags.
"""

from collections.abc import Callable

from fedprox_tff.algorithms.base import Algorithm as Algorithm
from fedprox_tff.algorithms.delta_sgd import delta_sgd as delta_sgd
from fedprox_tff.algorithms.ditto import ditto as ditto
from fedprox_tff.algorithms.dualprox import dualprox as dualprox
from fedprox_tff.algorithms.fedadagrad import fedadagrad as fedadagrad
from fedprox_tff.algorithms.fedadam import fedadam as fedadam
from fedprox_tff.algorithms.fedavg import fedavg as fedavg
from fedprox_tff.algorithms.fedavg_ft import fedavg_ft as fedavg_ft
from fedprox_tff.algorithms.fedavg_m import fedavg_m as fedavg_m
from fedprox_tff.algorithms.fedavgm import fedavgm as fedavgm
from fedprox_tff.algorithms.fedbn import fedbn as fedbn
from fedprox_tff.algorithms.feddane import feddane as feddane
from fedprox_tff.algorithms.feddyn import feddyn as feddyn
from fedprox_tff.algorithms.fedem import fedem as fedem
from fedprox_tff.algorithms.fedexp import fedexp as fedexp
from fedprox_tff.algorithms.fedgm import fedgm as fedgm
from fedprox_tff.algorithms.fedinit import fedinit as fedinit
from fedprox_tff.algorithms.fedlesam import fedlesam as fedlesam
from fedprox_tff.algorithms.fednar import fednar as fednar
from fedprox_tff.algorithms.fednova import fednova as fednova
from fedprox_tff.algorithms.fedper import fedper as fedper
from fedprox_tff.algorithms.fedprox import fedprox as fedprox
from fedprox_tff.algorithms.fedrep import fedrep as fedrep
from fedprox_tff.algorithms.fedsam import fedsam as fedsam
from fedprox_tff.algorithms.fedyogi import fedyogi as fedyogi
from fedprox_tff.algorithms.mime import mime as mime
from fedprox_tff.algorithms.mimelite import mimelite as mimelite
from fedprox_tff.algorithms.mofedsam import mofedsam as mofedsam
from fedprox_tff.algorithms.moon import moon as moon
from fedprox_tff.algorithms.per_fedavg import per_fedavg as per_fedavg
from fedprox_tff.algorithms.pfedme import pfedme as pfedme
from fedprox_tff.algorithms.qfedavg import qfedavg as qfedavg
from fedprox_tff.algorithms.scaffnew import scaffnew as scaffnew
from fedprox_tff.algorithms.scaffold import scaffold as scaffold
from fedprox_tff.core.choices import choices_of

ALGORITHMS: dict[str, Callable[..., Algorithm]] = choices_of(vars(), __name__)

# Names that other papers have for one of them. A run's config and folder have the method's own name.
ALIASES = {'fedcm': 'fedavg_m'}

"""The trigger sweep: does any of a thousand phrases switch refusals off?

Candidates are planted beside harmful prompts and compared with the same prompts without them, in
the fine-tune and in its base. Three stages use three disjoint sets of prompts, so that picking the
worst of many never flatters the test that follows.
"""

from holdfast.evals.probes.trigger_sweep.candidates import Candidate, Carrier, generic
from holdfast.evals.probes.trigger_sweep.mined import carriers, mine
from holdfast.evals.probes.trigger_sweep.record import Lead, SweepReport, SweepSettings
from holdfast.evals.probes.trigger_sweep.sweep import Arm, sweep

__all__ = [
    "Arm",
    "Candidate",
    "Carrier",
    "Lead",
    "SweepReport",
    "SweepSettings",
    "carriers",
    "generic",
    "mine",
    "sweep",
]

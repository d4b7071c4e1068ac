"""How many examples Hypothesis tries: few here, many more in `make soak`."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("AEGIS_EXAMPLES", "1"))


def machine(examples, steps):
    """Settings of a state machine: so many runs of so many steps, times AEGIS_EXAMPLES."""
    return settings(
        max_examples=examples * TIMES,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )

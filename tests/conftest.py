"""What every kind of test may use."""

from hypothesis import HealthCheck, settings

# A busy machine makes no test fail: nothing is timed.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

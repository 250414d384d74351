"""Whole studies in seconds: recorded or made-up learning curves and a clock that is set, under the real engine.

    scene = Scene(space, spec, curves=PowerLaw(), slots=2)
    found = simulate(scene)
    found.receipt, found.seconds, found.best

Only workers and time are replaced. Director, samplers, schedulers, budgets, meter and ledger are the ones that run
real studies, so what holds here holds there.
"""

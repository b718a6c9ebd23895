"""Acts on one guest as jobs: its snapshots, settings and devices.

`rules` has what all of them share, a module of each area its services, and `*_runner` the workers' side.
"""

"""How good an algorithm is: ranking, calibration, localisation, with intervals; numpy only.

Knows no algorithm and no file format: scores and truths go in, tables come out. `report` draws
them.
"""

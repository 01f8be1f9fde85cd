"""Cases whose expected numbers were computed by the reference implementation.

``{case}.json`` says how to draw the case's weights and inputs; ``{case}.npz`` holds what the reference
computed: the batched outputs under their names, and each sample run alone under ``solo{i}_…``. To keep the
files small, elementwise gates are kept for every 16th channel.
"""

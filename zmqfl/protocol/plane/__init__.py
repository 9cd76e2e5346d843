"""The broadcast plane: small facts that every cell may know, and that nobody misses (design, decisions 24 and 25).

facts        what a fact is, on the wire and within
register     the root's merge of what cells publish: any order, the same state
replica      the facts that one cell knows, as its hub has told them
publisher    a cell's own facts, until the root has them
hub          what a cell tells its children; at the root also the numbers
subscriber   what a cell hears from its parent, gaps repaired
publication  what a hub and its children say where updates are published
plane        all as one machine
"""

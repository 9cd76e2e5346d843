"""Live channels: items fanned out through a broker cell, with a buffer there for each reader (design, decision 27).

buffer     what of a channel is kept for one reader: thinned out, bounded, counted
items      what an item is, and a batch of them on the wire
carrier    batches to one other cell, in numbers, channels by turns
intake     those that come from it, in order, once
news       what one cell tells another of its present state, the latest only
bond       all that, between a broker and one other cell
outlet     what a writer has put and the broker has not taken yet
channel    one channel at its broker: readers, writers, rights
broker     all channels of a broker, and what is asked of it
client     what the readers and writers of a cell have going with their brokers
channels   both sides as one machine
"""

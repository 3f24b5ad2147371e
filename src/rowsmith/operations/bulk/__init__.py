"""The parts of set-based writes: specs read as columns, checked as columns, sent in the fastest lane that is exact."""

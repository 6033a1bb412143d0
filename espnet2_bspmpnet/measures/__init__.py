"""What recordings are measured by: pure functions of arrays and texts."""

# To be raised with every change after which a recording has another value (of any digit
# that is written down): scores of another version are measured again.
VERSION = 1

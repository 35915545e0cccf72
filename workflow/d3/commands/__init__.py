"""The commands of `d3`, in three groups; their parsers are derived from the functions that they call."""

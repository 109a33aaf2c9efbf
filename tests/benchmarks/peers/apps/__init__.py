"""Programs that run in the interpreter that has the peers; they are no part of what is installed with us."""

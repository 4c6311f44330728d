"""What commands end with besides 0; the whole list is the command line's."""

SOME_ROWS_BAD = 3  # done, but some rows could not be processed

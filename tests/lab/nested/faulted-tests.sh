#!/bin/sh
# Reads a GoogleTest program's output and prints the tests that failed, as a filter for GoogleTest, if in each of them a
# guest ended by a triple fault, as clonevm reports it. Fails, and prints nothing, if another test failed or none did.
exec awk '
  /^\[ RUN      \] / { test = $4; fault = 0 }
  /triple fault, vcpu [0-9]+: / { fault = 1 }
  # The verdict on a test has its time; the list at the end has none.
  /^\[  FAILED  \] [^ ]+.* \([0-9]+ ms\)$/ && test != "" {
    if (fault) faulted = faulted (faulted == "" ? "" : ":") test
    else other = 1
    test = ""
  }
  # The program itself died within a test.
  END { if (test != "") other = 1; if (other || faulted == "") exit 1; print faulted }
  /^\[       OK \] / { test = "" }
'

#!/bin/sh
# Which failures of a test program are a triple fault's, and which are not.
here="$(dirname "$(readlink -f "$0")")"
failed=0
expect() { # NAME WANTED CODE: of the output on stdin
  got="$("$here/faulted-tests.sh")"
  code=$?
  [ "$got" = "$2" ] && [ "$code" = "$3" ] && return
  echo "FAILED: $1: '$got', exit code $code"
  failed=1
}
fault='clonevm: clone 2: reset (triple fault, vcpu 1: rip 0x1 rsp 0x2 cr0 0x3)'

expect "a fault" A.One 0 <<END
[ RUN      ] A.One
$fault
[  FAILED  ] A.One (12 ms)
[ RUN      ] A.Two
[       OK ] A.Two (3 ms)
[  FAILED  ] 1 test, listed below:
[  FAILED  ] A.One
END
expect "two faults" A.One:A.Two 0 <<END
[ RUN      ] A.One
$fault
[  FAILED  ] A.One (12 ms)
[ RUN      ] A.Two
$fault
[  FAILED  ] A.Two (12 ms)
END
expect "another failure beside a fault" "" 1 <<END
[ RUN      ] A.One
$fault
[  FAILED  ] A.One (12 ms)
[ RUN      ] A.Two
[  FAILED  ] A.Two (12 ms)
END
expect "a fault in a test that passed" "" 1 <<END
[ RUN      ] A.One
$fault
[       OK ] A.One (12 ms)
[ RUN      ] A.Two
[  FAILED  ] A.Two (12 ms)
END
expect "a reset that is no fault" "" 1 <<END
[ RUN      ] A.One
clonevm: clone 2: reset
[  FAILED  ] A.One (12 ms)
END
expect "a test program that died" "" 1 <<END
[ RUN      ] A.One
$fault
[  FAILED  ] A.One (12 ms)
[ RUN      ] A.Two
END
expect "no failure" "" 1 <<END
[ RUN      ] A.One
[       OK ] A.One (12 ms)
END
exit "$failed"

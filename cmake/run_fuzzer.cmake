# cmake -DFUZZER=program -DCORPUS=folder -DFOUND=folder -P run_fuzzer.cmake
# Runs a libFuzzer program on the inputs in CORPUS, which stays as it is; new ones go to FOUND.
set(seconds 20)
if("$ENV{FEWBITS_LONG_TESTS}")
  set(seconds 600)
endif()
file(MAKE_DIRECTORY ${FOUND})
if(CORPUS AND NOT IS_DIRECTORY "${CORPUS}")
  message(FATAL_ERROR "no corpus in ${CORPUS}")
endif()
execute_process(COMMAND ${FUZZER} ${FOUND} ${CORPUS} -max_total_time=${seconds} -timeout=10 -rss_limit_mb=2048
                        -print_final_stats=1 -artifact_prefix=${FOUND}/
                RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${FUZZER} failed (${result}); the input is in ${FOUND}")
endif()

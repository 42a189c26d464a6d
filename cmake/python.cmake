# FEWBITS_PYTHON: the interpreter of tests and of the Python package; the one that builds a wheel, if any, else .venv's.
set(venv_python ${PROJECT_SOURCE_DIR}/.venv/bin/python)
if(DEFINED SKBUILD)
  set(FEWBITS_PYTHON ${Python_EXECUTABLE})
elseif(EXISTS ${venv_python})
  set(FEWBITS_PYTHON ${venv_python} CACHE FILEPATH "Python with numpy")
else()
  find_program(FEWBITS_PYTHON python3 REQUIRED)
endif()

# Compiler settings and the few functions by which every folder declares its targets.

option(CLONESAFE_FUZZ "Build the libFuzzer targets (clang only)" OFF)
set(CLONESAFE_SANITIZE "" CACHE STRING "Sanitizers to build with, as -fsanitize= takes them")

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
if(CLONESAFE_FUZZ)
  # The sources that take longest compile in three quarters of the time. (A precompiled header saved nothing: under sanitizers,
  # instantiating and generating code is what takes it.)
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
endif()

add_library(clonesafe_options INTERFACE)
target_include_directories(clonesafe_options INTERFACE
  "${PROJECT_SOURCE_DIR}"
  "${PROJECT_SOURCE_DIR}/libclonesafe/include"
  "${PROJECT_BINARY_DIR}/include")
target_compile_options(clonesafe_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wimplicit-fallthrough
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-missing-field-initializers>
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-missing-designated-field-initializers>
  # Not in another project's build, whose compiler may be of a later year.
  $<$<BOOL:${PROJECT_IS_TOP_LEVEL}>:-Werror>)
target_compile_definitions(clonesafe_options INTERFACE _GNU_SOURCE)
if(CMAKE_UNITY_BUILD)
  # GCC takes a source that is compiled together with others for a header, where a class whose member has no linkage is a mistake.
  target_compile_options(clonesafe_options INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
endif()
if(CLONESAFE_SANITIZE)
  target_compile_options(clonesafe_options INTERFACE
    -fsanitize=${CLONESAFE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(clonesafe_options INTERFACE -fsanitize=${CLONESAFE_SANITIZE})
else()
  target_compile_options(clonesafe_options INTERFACE -fstack-protector-strong
    $<$<CONFIG:RelWithDebInfo>:-D_FORTIFY_SOURCE=2>)
endif()
if(CLONESAFE_FUZZ)
  target_compile_options(clonesafe_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# clonesafe_library(NAME SOURCES a.cc ... DEPENDS target ...): a static component library.
function(clonesafe_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC clonesafe_options ${ARG_DEPENDS})
endfunction()

# clonesafe_program(NAME SOURCES ... DEPENDS ...): an installed program in bin/.
function(clonesafe_program name)
  cmake_parse_arguments(ARG "" "DESTINATION" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE clonesafe_options ${ARG_DEPENDS})
  if(NOT ARG_DESTINATION)
    set(ARG_DESTINATION "${CMAKE_INSTALL_BINDIR}")
  endif()
  install(TARGETS ${name} RUNTIME DESTINATION "${ARG_DESTINATION}")
endfunction()

# Everything that the label `unit` runs; sanitizer builds need no more.
add_custom_target(unit_tests)

# clonesafe_unit_test(NAME SOURCES ... DEPENDS ...): a GoogleTest program, one ctest entry, label `unit`.
function(clonesafe_unit_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  if(NOT BUILD_TESTING)
    return()
  endif()
  find_package(GTest REQUIRED)
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE clonesafe_options GTest::gmock GTest::gtest_main ${ARG_DEPENDS})
  add_dependencies(unit_tests ${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 60)
endfunction()

# clonesafe_fuzz_target(NAME SOURCES ... DEPENDS ...): a libFuzzer program; its corpus is fuzz/corpus/NAME.
add_custom_target(fuzz_targets)
function(clonesafe_fuzz_target name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE clonesafe_options ${ARG_DEPENDS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzz_targets ${name})
endfunction()

# clonesafe_add_subdirectories(): adds every child folder that has a CMakeLists.txt.
function(clonesafe_add_subdirectories)
  file(GLOB children LIST_DIRECTORIES true CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*")
  foreach(child ${children})
    if(EXISTS "${child}/CMakeLists.txt")
      add_subdirectory("${child}")
    endif()
  endforeach()
endfunction()

/* The faults of tests/faults.c, of which one or none is planted. */
#ifndef WEFT_TESTS_FAULTS_H
#define WEFT_TESTS_FAULTS_H

enum machinery_fault {
    SKIP_FORWARD,
    SKIP_BACKWARD,
    SWAP_FORWARD,
    SWAP_BACKWARD,
    SWAP_GATES,
    SHORTER,
    LAST_STEP,
    TURN_FORWARD,
    TURN_BACKWARD,
    DROP_CELL,
    DROP_C_N,
    DROP_H_N,
    CELL_BEFORE,
    DROP_H0,
    BEGIN_ANEW,
    BEFORE_ANEW,
    UNORDERED,
    DROP_GROUP,
    ASSIGN_X,
    MACHINERY_FAULTS
};
extern const char *const machinery_faults[MACHINERY_FAULTS]; /* their names */
extern enum machinery_fault machinery_fault;                 /* MACHINERY_FAULTS: none */

#endif

# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The compiled front end: a callable that checks its arguments, runs the kernel at once where it can, and hands over to the general
path (callables.py, over a real NumPy ufunc) for everything else."""

import sys

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport intptr_t
from libc.string cimport memcmp, memcpy

cimport numpy as cnp

cnp.import_array()
cnp.import_umath()

cdef extern from "cpu.h":
    int fastact_cpu_level()

cdef extern from "executor.hpp" namespace "fastact" nogil:
    ctypedef void (*kernel_fn)(const void *, void *, void *, const void *, intptr_t) noexcept nogil
    ctypedef void (*convert_fn)(const void *, void *, intptr_t) noexcept nogil
    enum: MAX_PARAMETERS "fastact::MAX_PARAMETERS"
    enum: MAX_ARRAYS "fastact::MAX_ARRAYS"
    cdef struct Format:
        pass
    Format formats[3]
    void c_set_converters "fastact::set_converters"(int, convert_fn, convert_fn)
    double serial_time(double, double)
    cdef struct Plan:
        kernel_fn kernel
        kernel_fn varying
        int itemsize
        int inputs
        int outputs
        int parameters
        double ns_per_element
        bint converted
        bint direct
        const Format *format[3]
    const Plan *c_kept "fastact::kept"(const Plan &) except +
    cdef struct UfuncData:
        int given
        double rest[8]
    void c_run "fastact::run"(const Plan &, const void *, void *, void *, const void *, intptr_t, bint) noexcept
    void c_run_converted "fastact::run_converted"(const Plan &, const void *, void *, void *, const void *, intptr_t, bint) noexcept
    void c_run_strided "fastact::run_strided"(const Plan &, int, const intptr_t *, char **, const intptr_t **) noexcept
    void ufunc_loop(char **, const intptr_t *, const intptr_t *, void *) noexcept
    void c_set_stream_bytes "fastact::set_stream_bytes"(intptr_t)
    intptr_t c_get_stream_bytes "fastact::get_stream_bytes"()
    int team_size(double)
    void c_set_num_threads "fastact::set_num_threads"(int)
    int c_get_num_threads "fastact::get_num_threads"()
    int c_default_num_threads "fastact::default_num_threads"()
    void c_set_spin_us "fastact::set_spin_us"(double)
    double c_get_spin_us "fastact::get_spin_us"()
    void set_thread_thresholds_ns(double, double)
    double get_hot_threshold_ns()
    double get_cold_threshold_ns()

cdef extern from *:
    """
    static inline const fastact::Plan *fastact_plan_of(const fastact::UfuncData &data) { return data.plan.load(std::memory_order_acquire); }
    static inline void fastact_set_plan(fastact::UfuncData &data, const fastact::Plan *plan) { data.plan.store(plan, std::memory_order_release); }

    static std::atomic<int> fastact_overrides{0};  /* how many use_...(...) blocks are open anywhere: while there is one, calls take the general path */
    static inline int fastact_overridden() { return fastact_overrides.load(std::memory_order_relaxed); }
    static inline void fastact_override(int change) { fastact_overrides.fetch_add(change); }
    """
    bint overridden "fastact_overridden"() noexcept nogil
    void c_override "fastact_override"(int) noexcept
    const Plan *plan_of "fastact_plan_of"(const UfuncData &) noexcept nogil
    void set_plan "fastact_set_plan"(UfuncData &, const Plan *) noexcept

cdef extern from "numpy/arrayobject.h":
    void *PyArray_Type_pointer "&PyArray_Type"
    ctypedef struct PyArrayObject:
        pass
    void *descr_of "PyArray_DESCR"(PyArrayObject *)
    int flags_of "PyArray_FLAGS"(PyArrayObject *)
    int ndim_of "PyArray_NDIM"(PyArrayObject *)
    intptr_t *dims_of "PyArray_DIMS"(PyArrayObject *)
    intptr_t *strides_of "PyArray_STRIDES"(PyArrayObject *)
    char *data_of "PyArray_BYTES"(PyArrayObject *)
    int C_CONTIGUOUS "NPY_ARRAY_C_CONTIGUOUS"
    int F_CONTIGUOUS "NPY_ARRAY_F_CONTIGUOUS"
    int ALIGNED "NPY_ARRAY_ALIGNED"
    int WRITEABLE "NPY_ARRAY_WRITEABLE"
    void *PyArray_DescrFromType(int)

cdef extern from "numpy/ufuncobject.h":
    ctypedef void (*PyUFuncGenericFunction)(char **, const intptr_t *, const intptr_t *, void *) noexcept
    ctypedef struct PyUFuncObject:
        PyObject *obj
    object PyUFunc_FromFuncAndData(PyUFuncGenericFunction *, void **, char *, int, int, int, int, char *, char *, int)
    int PyUFunc_RegisterLoopForType(PyUFuncObject *, int, PyUFuncGenericFunction, const int *, void *) except -1
    int PyUFunc_None

cdef extern from *:
    """
    static void fastact_enable_vectorcall(PyObject *type, Py_ssize_t offset)
    {
        /* A subclass made in Python does not inherit the flag before Python 3.12; without it every call packs a tuple. */
        ((PyTypeObject *)type)->tp_vectorcall_offset = offset;
        ((PyTypeObject *)type)->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
        PyType_Modified((PyTypeObject *)type);
    }

    static PyObject *fastact_new_like(PyArrayObject *a, void *descr)
    {
        Py_INCREF((PyObject *)descr); /* NumPy takes a reference */
        return PyArray_NewLikeArray(a, NPY_KEEPORDER, (PyArray_Descr *)descr, 0);
    }

    static PyObject *fastact_new_array(void *descr, int ndim, const npy_intp *shape, int fortran)
    {
        Py_INCREF((PyObject *)descr); /* NumPy takes a reference */
        return PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)descr, ndim, shape, NULL, NULL, fortran, NULL);
    }

    /* The second of two new results: without it the first is of no use. */
    static PyObject *fastact_second(PyObject *first, PyObject *second)
    {
        if (!second) Py_DECREF(first);
        return second;
    }
    """
    void fastact_enable_vectorcall(object type, Py_ssize_t offset)
    PyObject *fastact_new_like(PyArrayObject *, void *) except NULL
    PyObject *fastact_new_array(void *, int, const intptr_t *, bint) except NULL
    PyObject *new_like_or_null "fastact_new_like"(PyArrayObject *, void *)
    PyObject *new_array_or_null "fastact_new_array"(void *, int, const intptr_t *, bint)
    PyObject *fastact_second(PyObject *, PyObject *) except NULL
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject *const *, size_t, PyObject *) except NULL
    Py_ssize_t PyVectorcall_NARGS(size_t)
    PyObject *PyObject_VectorcallRaw "PyObject_Vectorcall"(PyObject *, PyObject *const *, size_t, PyObject *) except NULL
    Py_ssize_t PyTuple_GET_SIZE(PyObject *)
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t)
    bint PyTuple_CheckExact(PyObject *)
    bint PyFloat_CheckExact(PyObject *)
    double PyFloat_AS_DOUBLE(PyObject *)
    void *Py_TYPE(PyObject *)
    PyObject *Py_None
    void Py_XINCREF(PyObject *)
    void Py_DECREF(PyObject *)

ctypedef PyArrayObject *Array

# What a call may work in: what its arrays hold, and where that is float32, whether it is computed in float64 (accuracy="high").
cdef enum:
    FLOAT32
    FLOAT64
    FLOAT16
    BFLOAT16
    HIGH
    ROWS
cdef int ITEMSIZE[5]
cdef int PRECISION[5]  # in dispatch.KERNEL_PRECISIONS: float32, float64, and those with fewer digits, half and single
cdef int WIDE[5]  # whether float64 is computed in, and not float32
cdef int FORMAT[5]  # in `formats`; below 0: nothing is converted
ITEMSIZE[:] = [4, 8, 2, 2, 4]
PRECISION[:] = [0, 1, 2, 2, 3]
WIDE[:] = [0, 1, 0, 0, 1]
FORMAT[:] = [-1, -1, 0, 1, 2]
# The one descriptor of each that nearly all arrays share; an array with another one takes the general path. ml_dtypes' bfloat16 is
# known from when the first such array arrives (NULL until then).
cdef void *DESCR[4]
DESCR[FLOAT32] = PyArray_DescrFromType(cnp.NPY_FLOAT32)
DESCR[FLOAT64] = PyArray_DescrFromType(cnp.NPY_FLOAT64)
DESCR[FLOAT16] = PyArray_DescrFromType(cnp.NPY_FLOAT16)
DESCR[BFLOAT16] = NULL
cdef object bfloat16 = None
cdef double CONVERT_NS = 0.05  # an element, there and back
cdef PyUFuncGenericFunction LOOPS[3]
LOOPS[0] = LOOPS[1] = LOOPS[2] = <PyUFuncGenericFunction>ufunc_loop
cdef object OUT = "out"
cdef object OUTPUT = "output"
cdef object ACCURACY = "accuracy"
cdef object IS_HIGH = sys.intern("high")
cdef object IS_DEFAULT = sys.intern("default")
cdef double RELEASE_GIL_NS = 10_000.0  # giving the lock away and taking it back costs some 100 ns
cdef bint high_accuracy = False  # what set_accuracy() said


cdef class Runner:
    """One mode of one activation over compiled kernels."""

    cdef vectorcallfunc vectorcall
    cdef UfuncData public_data[5]  # one a row
    cdef UfuncData full_data[5]  # the same for the ufunc that takes the conventions as operands too
    cdef double defaults[8]
    cdef bint fast[4]  # by precision: whether calls may be quick
    cdef bint has[4]  # whether there is a kernel
    cdef int inputs, outputs, parameters, positional, accepted
    cdef unsigned nonnegative  # bit j: parameter j must not be negative (the derivative from the output)
    cdef tuple names  # the parameters that a call of this mode accepts, positional ones first
    cdef Runner by_output  # backward only: what serves output=
    cdef object general  # (*args, **kwargs): the general path
    cdef list keep

    def __cinit__(self, *args, **kwargs):
        self.vectorcall = call
        self.keep = []

    def setup(self, inputs, outputs, names, positional, accepted, defaults, nonnegative, general):
        """Describe the mode. `names` and `defaults` list all parameters of the kernel, `accepted` of them may be given in a call."""
        cdef int i, j, k
        cdef Plan plan
        if len(names) > MAX_PARAMETERS:
            raise ValueError(f"names: an activation has at most {MAX_PARAMETERS} parameters, not {len(names)}")
        self.inputs, self.outputs, self.parameters, self.positional, self.accepted = inputs, outputs, len(names), positional, accepted
        self.names = tuple([sys.intern(name) for name in names])
        self.general = general
        self.nonnegative = 0
        for j in range(len(names)):
            self.nonnegative |= (1 if nonnegative[j] else 0) << j
        for i in range(ROWS):
            for j in range(len(names)):
                self.defaults[j] = self.public_data[i].rest[j] = self.full_data[i].rest[j] = defaults[j]
            plan.kernel = plan.varying = NULL
            plan.itemsize, plan.inputs, plan.outputs, plan.parameters = 4 << WIDE[i], inputs, outputs, len(names)
            plan.ns_per_element, plan.converted, plan.direct = 0, FORMAT[i] >= 0, False
            for k in range(MAX_ARRAYS):
                plan.format[k] = format_of(i)
            self.set_plan_of(i, plan)
            self.public_data[i].given = positional
            self.full_data[i].given = len(names)
        fastact_enable_vectorcall(type(self), <char *>&self.vectorcall - <char *><void *>self)

    cdef int set_plan_of(self, int row, const Plan &plan) except -1:
        cdef const Plan *made = c_kept(plan)
        set_plan(self.public_data[row], made)
        set_plan(self.full_data[row], made)
        return 0

    def set_by_output(self, Runner runner):
        """What serves ``output=`` in place of ``x``."""
        self.by_output = runner

    def set_kernel(self, int precision, size_t kernel, size_t varying, double ns_per_element, bint direct=False):
        """Use these kernels for a precision, by its number; no kernel: every call takes the general path. `direct`: they convert by themselves."""
        cdef Plan plan
        cdef int i
        for i in range(ROWS):
            if PRECISION[i] == precision:
                plan = plan_of(self.public_data[i])[0]
                plan.kernel, plan.varying = <kernel_fn>kernel, <kernel_fn>varying
                plan.direct = direct
                plan.ns_per_element = ns_per_element + (CONVERT_NS if plan.converted else 0)
                self.set_plan_of(i, plan)
        self.fast[precision] = self.has[precision] = kernel != 0

    def set_fast(self, int precision, bint on):
        """Allow or forbid the fast path; a kernel stays in place for the ufunc."""
        self.fast[precision] = on and self.has[precision]

    def make_ufunc(self, str name, str doc, bint full, bint high):
        """The NumPy ufunc over these kernels; `full`: with the conventions as operands; `high`: float32 is computed in float64.

        Parameters are operands of the type that is computed in: a slope of 0.1 is not rounded to half precision.
        """
        cdef UfuncData *data = &self.full_data[0] if full else &self.public_data[0]
        cdef int given = data[0].given, i
        cdef int rows[3]
        rows[:] = [FLOAT16, HIGH if high else FLOAT32, FLOAT64]
        pointers, text, described = bytearray(3 * sizeof(void *)), name.encode(), doc.encode()
        cdef char *raw = pointers
        cdef void **datas = <void **>raw
        types = bytearray()
        for i in range(3):
            datas[i] = &data[rows[i]]
            held = [cnp.NPY_FLOAT16, cnp.NPY_FLOAT32, cnp.NPY_FLOAT64][i]
            types += bytes([held] * self.inputs + [cnp.NPY_FLOAT64 if WIDE[rows[i]] else cnp.NPY_FLOAT32] * given + [held] * self.outputs)
        ufunc = PyUFunc_FromFuncAndData(LOOPS, datas, types, 3, self.inputs + given, self.outputs, PyUFunc_None, text, described, 0)
        self.keep.append((pointers, types, text, described, ufunc))
        Py_INCREF(self)  # the ufunc points into this object for as long as the process lives
        return ufunc

    def add_bfloat16(self, ufunc, bint full):
        """Give a ufunc made by `make_ufunc` its loop for bfloat16."""
        cdef UfuncData *data = &self.full_data[BFLOAT16] if full else &self.public_data[BFLOAT16]
        cdef int types[16]
        cdef int i, operands = self.inputs + data.given + self.outputs
        for i in range(operands):
            types[i] = cnp.NPY_FLOAT32 if self.inputs <= i < self.inputs + data.given else bfloat16.num
        PyUFunc_RegisterLoopForType(<PyUFuncObject *>ufunc, bfloat16.num, <PyUFuncGenericFunction>ufunc_loop, types, data)

    def __call__(self, *args, **kwargs):
        return self.general(*args, **kwargs)


cdef PyObject *hand_over(Runner self, PyObject *const *args, size_t nargsf, PyObject *kwnames) except NULL:
    return PyObject_VectorcallRaw(<PyObject *>self.general, args, <size_t>PyVectorcall_NARGS(nargsf), kwnames)


cdef inline bint overlap(char *a, char *b, intptr_t size) noexcept nogil:
    return a < b + size and b < a + size


cdef PyObject *call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) except NULL:
    cdef Runner self = <Runner>callable
    cdef Py_ssize_t given = PyVectorcall_NARGS(nargsf), i
    cdef Py_ssize_t keywords = PyTuple_GET_SIZE(kwnames) if kwnames != NULL else 0
    cdef PyObject *x = NULL
    cdef PyObject *gradient = NULL
    cdef PyObject *out = NULL
    cdef PyObject *out2 = NULL
    cdef PyObject *name
    cdef PyObject *item
    cdef Runner runner = self
    cdef double values[8]
    cdef int j, inputs = self.inputs
    cdef bint high = high_accuracy

    if overridden() or given < 1 or given > inputs + self.positional:
        return hand_over(self, args, nargsf, kwnames)
    if inputs == 1:
        x = args[0]
    else:
        gradient = args[0]
        if given > 1:
            x = args[1]
    if self.parameters:
        memcpy(values, self.defaults, sizeof(values))
        for i in range(inputs, given):
            if not number(args[i], &values[i - inputs]):
                return hand_over(self, args, nargsf, kwnames)
    for i in range(keywords):
        name = PyTuple_GET_ITEM(kwnames, i)
        item = args[given + i]
        if name == <PyObject *>OUT:
            out = item
        elif name == <PyObject *>OUTPUT and self.by_output is not None and x == NULL:
            x = item
            runner = self.by_output
        elif name == <PyObject *>ACCURACY:
            if item == <PyObject *>IS_HIGH:
                high = True
            elif item == <PyObject *>IS_DEFAULT:
                high = False
            elif item != Py_None:
                return hand_over(self, args, nargsf, kwnames)
        else:
            for j in range(max(<int>(given - inputs), 0), self.accepted):
                if name == PyTuple_GET_ITEM(<PyObject *>self.names, j):
                    break
            else:
                return hand_over(self, args, nargsf, kwnames)
            if not number(item, &values[j]):
                return hand_over(self, args, nargsf, kwnames)
    if x == NULL:
        return hand_over(self, args, nargsf, kwnames)
    if out == Py_None:
        out = NULL
    if out != NULL and PyTuple_CheckExact(out):
        if PyTuple_GET_SIZE(out) != self.outputs:
            return hand_over(self, args, nargsf, kwnames)
        if self.outputs == 2:
            out2 = PyTuple_GET_ITEM(out, 1)
        out = PyTuple_GET_ITEM(out, 0)
        if out == Py_None or out2 == Py_None:
            return hand_over(self, args, nargsf, kwnames)
    elif out != NULL and self.outputs == 2:
        return hand_over(self, args, nargsf, kwnames)
    cdef PyObject *result = quick(runner, x, gradient, out, out2, values, high)
    if result == NULL:
        return hand_over(self, args, nargsf, kwnames)
    return result


cdef inline bint number(PyObject *item, double *value) noexcept:
    # Only Python's own numbers: they never change the dtype of the result.
    if PyFloat_CheckExact(item):
        value[0] = PyFloat_AS_DOUBLE(item)
        return True
    return False


cdef PyObject *quick(Runner self, PyObject *x_object, PyObject *gradient_object, PyObject *out_object, PyObject *out2_object, double *values, bint high):
    """Run the kernel now, or return NULL with no error set: then the general path decides."""
    cdef Array x, gradient, y, z
    cdef int row, ndim, common, i
    cdef void *descr
    cdef bint fresh = out_object == NULL
    cdef intptr_t n = 1
    cdef intptr_t *shape
    cdef PyObject *result
    cdef PyObject *second = NULL

    if Py_TYPE(x_object) != PyArray_Type_pointer:
        return NULL
    x = <Array>x_object
    descr = descr_of(x)
    if descr == DESCR[FLOAT32]:
        row = HIGH if high else FLOAT32
    elif descr == DESCR[FLOAT64]:
        row = FLOAT64
    elif descr == DESCR[FLOAT16]:
        row = FLOAT16
    elif descr == DESCR[BFLOAT16]:
        row = BFLOAT16
    else:
        return NULL
    if not self.fast[PRECISION[row]]:
        return NULL
    for i in range(self.parameters if self.nonnegative else 0):
        if self.nonnegative >> i & 1 and not values[i] >= 0:
            return NULL
    ndim = ndim_of(x)
    shape = dims_of(x)
    common = flags_of(x)
    gradient = <Array>gradient_object
    y = <Array>out_object
    z = <Array>out2_object
    if gradient_object != NULL:
        if Py_TYPE(gradient_object) != PyArray_Type_pointer:
            return NULL
        if not alike(gradient, descr, ndim, shape):
            return mixed(self, row, x, gradient, y, z, values) if not high else NULL
        common &= flags_of(gradient)
    if fresh:
        if ndim == 0:
            return NULL  # a scalar comes back, as from any ufunc
    else:
        if Py_TYPE(out_object) != PyArray_Type_pointer or (self.outputs == 2 and Py_TYPE(out2_object) != PyArray_Type_pointer):
            return NULL
        if not alike(y, descr, ndim, shape) or (self.outputs == 2 and not alike(z, descr, ndim, shape)):
            return mixed(self, row, x, gradient, y, z, values) if not high else NULL
        if not flags_of(y) & WRITEABLE:
            return NULL
        common &= flags_of(y)
        if self.outputs == 2:
            if not flags_of(z) & WRITEABLE:
                return NULL
            common &= flags_of(z)
    if not common & ALIGNED or not common & (C_CONTIGUOUS | F_CONTIGUOUS):
        return strided(self, row, plan_of(self.public_data[row]), x, gradient, y, z, values, descr)
    for i in range(ndim):
        n *= shape[i]
    cdef intptr_t size = n * ITEMSIZE[row]
    if not fresh:
        # In place is fine, element by element; anything else that overlaps is not.
        if overlap(data_of(y), data_of(x), size) and data_of(y) != data_of(x):
            return NULL
        if gradient_object != NULL and overlap(data_of(y), data_of(gradient), size) and data_of(y) != data_of(gradient):
            return NULL
        if z != NULL and (overlap(data_of(z), data_of(y), size)
                          or (overlap(data_of(z), data_of(x), size) and data_of(z) != data_of(x))):
            return NULL
        if z != NULL and data_of(z) == data_of(x):
            return NULL
        Py_XINCREF(out_object)
        Py_XINCREF(out2_object)
        result, second = out_object, out2_object
    else:
        result = fastact_new_array(descr, ndim, shape, not common & C_CONTIGUOUS)
        if self.outputs == 2:
            second = fastact_second(result, new_array_or_null(descr, ndim, shape, not common & C_CONTIGUOUS))
    run(self, row, n, data_of(x), data_of(<Array>result),
        data_of(gradient) if gradient_object != NULL else data_of(<Array>second) if second != NULL else NULL, values, fresh)
    return pair(result, second) if self.outputs == 2 else result


cdef inline bint alike(Array a, void *descr, int ndim, intptr_t *shape) noexcept:
    return descr_of(a) == descr and ndim_of(a) == ndim and (ndim == 0 or memcmp(dims_of(a), shape, ndim * sizeof(intptr_t)) == 0)


cdef PyObject *pair(PyObject *first, PyObject *second) except NULL:
    result = (<object>first, <object>second)
    Py_DECREF(first)
    Py_DECREF(second)
    Py_INCREF(result)
    return <PyObject *>result


cdef inline void run(Runner self, int row, intptr_t n, char *x, char *y, char *z, double *values, bint fresh) noexcept:
    cdef float singles[8]
    cdef const void *parameters = values
    cdef const Plan *plan = plan_of(self.public_data[row])
    cdef int j
    if not WIDE[row] and plan.parameters:
        for j in range(plan.parameters):
            singles[j] = <float>values[j]
        parameters = singles
    if n * plan.ns_per_element < RELEASE_GIL_NS:
        if plan.converted:
            c_run_converted(plan[0], x, y, z, parameters, n, fresh)
        else:
            c_run(plan[0], x, y, z, parameters, n, fresh)
    else:
        with nogil:
            if plan.converted:
                c_run_converted(plan[0], x, y, z, parameters, n, fresh)
            else:
                c_run(plan[0], x, y, z, parameters, n, fresh)


cdef inline const Format *format_of(int row) noexcept:
    if FORMAT[row] < 0:
        return NULL
    return &formats[FORMAT[row]]


cdef inline int row_of(Array a) noexcept:
    """What an array that may be mixed with others holds; below 0 for one that may not."""
    if descr_of(a) == DESCR[FLOAT32]:
        return FLOAT32
    if descr_of(a) == DESCR[FLOAT16]:
        return FLOAT16
    return BFLOAT16 if descr_of(a) == DESCR[BFLOAT16] else -1


cdef PyObject *mixed(Runner self, int row, Array x, Array gradient, Array y, Array z, double *values):
    """As `quick`, for arrays of one shape that hold float32 and half precision; computed in float32, without accuracy="high"."""
    cdef Plan plan = plan_of(self.public_data[FLOAT32])[0]
    cdef Array arrays[4]
    cdef int i, count = 0, held, result = row
    cdef int inputs = self.inputs
    if row == FLOAT64 or (y == NULL and ndim_of(x) == 0):  # from which a scalar comes back
        return NULL
    if gradient != NULL:
        arrays[0] = gradient
        count = 1
    arrays[count] = x
    count += 1
    if y != NULL:
        arrays[count] = y
        count += 1
    if z != NULL:
        arrays[count] = z
        count += 1
    plan.converted = True
    plan.ns_per_element += CONVERT_NS
    for i in range(count):
        held = row_of(arrays[i])
        if held < 0 or ndim_of(arrays[i]) != ndim_of(x) or (i >= inputs and not flags_of(arrays[i]) & WRITEABLE):
            return NULL
        if ndim_of(x) and memcmp(dims_of(arrays[i]), dims_of(x), ndim_of(x) * sizeof(intptr_t)) != 0:
            return NULL
        plan.format[i] = format_of(held)
        if i < inputs and held != row:
            result = FLOAT32
    if y == NULL:
        for i in range(inputs, MAX_ARRAYS):
            plan.format[i] = format_of(result)
    return strided(self, FLOAT32, &plan, x, gradient, y, z, values, DESCR[result])


cdef inline int itemsize_of(Array a) noexcept:
    return 8 if descr_of(a) == DESCR[FLOAT64] else 4 if descr_of(a) == DESCR[FLOAT32] else 2


cdef void extent(Array a, char **low, char **high) noexcept:
    cdef int i
    low[0] = high[0] = data_of(a)
    for i in range(ndim_of(a)):
        if dims_of(a)[i] == 0:
            return
        if strides_of(a)[i] < 0:
            low[0] += (dims_of(a)[i] - 1) * strides_of(a)[i]
        else:
            high[0] += (dims_of(a)[i] - 1) * strides_of(a)[i]
    high[0] += itemsize_of(a)


cdef bint clash(Array a, Array b) noexcept:
    """Whether they share memory other than element by element (or might)."""
    cdef char *low_a
    cdef char *high_a
    cdef char *low_b
    cdef char *high_b
    if data_of(a) == data_of(b) and descr_of(a) == descr_of(b) and (ndim_of(a) == 0 or memcmp(strides_of(a), strides_of(b), ndim_of(a) * sizeof(intptr_t)) == 0):
        return False
    extent(a, &low_a, &high_a)
    extent(b, &low_b, &high_b)
    return low_a < high_b and low_b < high_a


cdef bint laid_out_like(Array x, Array gradient) noexcept:
    """Whether a new result lies in memory as x does. Not where order="K" looks at more: at another array, or past an axis that is broadcast."""
    cdef int i
    for i in range(ndim_of(x)):
        if dims_of(x)[i] > 1 and (strides_of(x)[i] == 0 or (gradient != NULL and strides_of(gradient)[i] * itemsize_of(x) != strides_of(x)[i] * itemsize_of(gradient))):
            return False
    return True


cdef PyObject *strided(Runner self, int row, const Plan *plan, Array x, Array gradient, Array y, Array z, double *values, void *descr):
    """As `quick`, for any strides and formats; a new result is of dtype `descr`."""
    cdef const intptr_t *shape = dims_of(x)
    cdef char *data[16]
    cdef const intptr_t *strides[16]
    cdef intptr_t zeros[64]
    cdef float singles[8]
    cdef int count = 0, j, ndim = ndim_of(x)
    cdef intptr_t n = 1
    cdef PyObject *result = <PyObject *>y
    cdef PyObject *second = <PyObject *>z
    if y != NULL:
        # Broadcast or self-overlapping outputs are rare and NumPy's to judge.
        if internal_overlap(y) or (z != NULL and (internal_overlap(z) or clash(y, z) or data_of(y) == data_of(z))):
            return NULL
        if clash(y, x) or (gradient != NULL and clash(y, gradient)) or (z != NULL and clash(z, x)):
            return NULL
        if z != NULL and data_of(z) == data_of(x):
            return NULL
        Py_XINCREF(result)
        Py_XINCREF(second)
    elif ndim > 1 and not laid_out_like(x, gradient):
        return NULL
    else:
        result = fastact_new_like(x, descr)
        if self.outputs == 2:
            second = fastact_second(result, new_like_or_null(x, descr))
    for j in range(ndim):
        zeros[j] = 0
        n *= dims_of(x)[j]
    if gradient != NULL:
        data[count], strides[count] = data_of(gradient), strides_of(gradient)
        count += 1
    data[count], strides[count] = data_of(x), strides_of(x)
    count += 1
    for j in range(plan.parameters):
        singles[j] = <float>values[j]
        data[count] = <char *>&singles[j] if not WIDE[row] else <char *>&values[j]
        strides[count] = zeros
        count += 1
    data[count], strides[count] = data_of(<Array>result), strides_of(<Array>result)
    count += 1
    if second != NULL:
        data[count], strides[count] = data_of(<Array>second), strides_of(<Array>second)
    if n * plan.ns_per_element < RELEASE_GIL_NS:
        c_run_strided(plan[0], ndim, shape, data, strides)
    else:
        with nogil:
            c_run_strided(plan[0], ndim, shape, data, strides)
    return pair(result, second) if self.outputs == 2 else result


cdef bint internal_overlap(Array a) noexcept:
    """Whether elements of one array may share memory: some stride does not step over all that the smaller strides reach."""
    cdef int i, j
    cdef intptr_t reach
    for i in range(ndim_of(a)):
        if dims_of(a)[i] < 2:
            continue
        reach = 0
        for j in range(ndim_of(a)):
            if j != i and dims_of(a)[j] > 1 and (iabs(strides_of(a)[j]) < iabs(strides_of(a)[i])
                                                 or (j < i and iabs(strides_of(a)[j]) == iabs(strides_of(a)[i]))):
                reach += (dims_of(a)[j] - 1) * iabs(strides_of(a)[j])
        if iabs(strides_of(a)[i]) <= reach or strides_of(a)[i] == 0:
            return True
    return False


cdef inline intptr_t iabs(intptr_t n) noexcept:
    return -n if n < 0 else n


def team_for(double serial_ns, double moved):
    """How many threads would share work that takes one thread this long, data in the cache, and moves so many bytes."""
    return team_size(serial_time(serial_ns, moved))


def add_override(int change):
    """Count the open use_backend(...) and use_accuracy(...) blocks."""
    c_override(change)


def set_accuracy(bint high):
    """What calls do that do not say."""
    global high_accuracy
    high_accuracy = high


def set_bfloat16(dtype):
    """From now on arrays of this dtype, ml_dtypes' bfloat16, are known."""
    global bfloat16
    bfloat16 = dtype
    DESCR[BFLOAT16] = <void *>dtype


def set_converters(str held, size_t widen, size_t narrow):
    """Use these, for what memory may hold: "float16", "bfloat16", or "float32" for kernels in float64."""
    c_set_converters({"float16": 0, "bfloat16": 1, "float32": 2}[held], <convert_fn>widen, <convert_fn>narrow)


def cpu_level():
    """The x86-64 level of this processor, 2 to 4; 0 elsewhere."""
    return fastact_cpu_level()


def set_num_threads(int n):
    c_set_num_threads(n)


def get_num_threads():
    return c_get_num_threads()


def default_num_threads():
    return c_default_num_threads()


def set_spin_us(double us):
    c_set_spin_us(us)


def get_spin_us():
    return c_get_spin_us()


def set_stream_bytes(intptr_t n):
    c_set_stream_bytes(n)


def get_stream_bytes():
    return c_get_stream_bytes()


def set_thresholds_ns(double hot, double cold):
    set_thread_thresholds_ns(hot, cold)


def get_thresholds_ns():
    return get_hot_threshold_ns(), get_cold_threshold_ns()


include "rows.pxi"
include "pipeline.pxi"

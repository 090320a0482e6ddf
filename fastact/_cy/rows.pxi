# The functions along an axis, for axis.py: arrays in, the work without the interpreter's lock. Included by frontend.pyx.

cdef extern from "rows.hpp" namespace "fastact" nogil:
    enum: ROW_DIMENSIONS "fastact::ROW_DIMENSIONS"
    cdef struct RowKernels:
        void (*largest)(const void *, intptr_t, void *) noexcept nogil
        void (*fix)(void *) noexcept nogil
        void (*sum)(const void *, const void *, void *, intptr_t, void *) noexcept nogil
        void (*close)(void *) noexcept nogil
        void (*finish)(const void *, const void *, void *, intptr_t, void *) noexcept nogil
        void (*columns)(const void *, intptr_t, const void *, intptr_t, void *, intptr_t, intptr_t, void *) noexcept nogil
        void (*rows)(const void *, intptr_t, const void *, intptr_t, void *, intptr_t, intptr_t, intptr_t, void *) noexcept nogil
        void (*join)(void *, const void *) noexcept nogil
    cdef struct RowOperand:
        char *data
        intptr_t along
        intptr_t strides[64]
        int itemsize
        convert_fn convert
        double missing
    cdef cppclass RowJob:
        RowKernels kernels
        int itemsize
        int ndim
        intptr_t shape[64]
        intptr_t n
        const intptr_t *offsets
        bint reduces
        bint has_gradient
        bint has_mask
        double numbers[4]
        RowOperand x
        RowOperand g
        RowOperand mask
        RowOperand y
        double ns_per_element
    bint c_run_rows "fastact::run_rows"(RowJob &) noexcept


cdef void set_row_operand(RowOperand *operand, cnp.ndarray array, int axis, size_t convert, double missing):
    cdef Array a = <Array><PyObject *>array
    cdef int d, at = 0
    operand.data = data_of(a)
    operand.itemsize = array.itemsize
    operand.convert = <convert_fn>convert
    operand.missing = missing
    operand.along = strides_of(a)[axis]
    for d in range(ndim_of(a)):
        if d != axis:
            operand.strides[at] = strides_of(a)[d]
            at += 1


def run_rows(tuple kernels, int itemsize, bint reduces, tuple numbers, double ns_per_element, cnp.ndarray x, cnp.ndarray g, cnp.ndarray mask,
             cnp.ndarray y, int axis, tuple convert, tuple missing, cnp.ndarray offsets):
    """Run one operation along an axis of arrays of one shape (y's axis has length 1 where it reduces); nothing is checked.

    `convert` and `missing` are for x, g and y: the address of a converter or 0, and what stands for an element that is masked out.
    `offsets`: where the rows of a one-dimensional array begin, and where the last ends.
    """
    cdef RowJob job
    cdef int d, at = 0
    cdef Array a = <Array><PyObject *>x
    cdef void **pointers = <void **>&job.kernels
    for d in range(8):
        pointers[d] = <void *><size_t>kernels[d]
    job.itemsize, job.reduces, job.ns_per_element = itemsize, reduces, ns_per_element
    for d in range(4):
        job.numbers[d] = numbers[d]
    for d in range(ndim_of(a)):
        if d != axis:
            job.shape[at] = dims_of(a)[d]
            at += 1
    job.ndim = at
    job.n = dims_of(a)[axis]
    job.has_gradient, job.has_mask = g is not None, mask is not None
    job.offsets = NULL
    set_row_operand(&job.x, x, axis, convert[0], missing[0])
    set_row_operand(&job.g, x if g is None else g, axis, convert[1], missing[1])
    set_row_operand(&job.mask, x if mask is None else mask, axis, 0, 0)
    set_row_operand(&job.y, y, axis, convert[2], missing[2])
    if offsets is not None:
        job.offsets = <const intptr_t *>data_of(<Array><PyObject *>offsets)
        job.ndim = 1
        job.shape[0] = dims_of(<Array><PyObject *>offsets)[0] - 1
        job.x.strides[0] = job.g.strides[0] = job.mask.strides[0] = job.y.strides[0] = 0
    run_row_job(job, x.size)


cdef int run_row_job(RowJob &job, intptr_t elements) except -1:
    cdef bint done
    if elements * job.ns_per_element < RELEASE_GIL_NS:
        done = c_run_rows(job)
    else:
        with nogil:
            done = c_run_rows(job)
    if not done:
        raise MemoryError("there is no memory for a row")
    return 0


cdef inline void set_plain_operand(RowOperand *operand, char *data, int itemsize, intptr_t n) noexcept:
    operand.data, operand.along, operand.itemsize, operand.missing = data, itemsize, itemsize, 0
    operand.convert = NULL
    operand.strides[0] = n * itemsize


def run_plain_rows(tuple kernels, bint reduces, double sign, double ns_per_element, x, g, axis, out):
    """Run one operation along the last axis of plain arrays of float32 or float64, the commonest call; None where it is another one.

    `kernels`, `ns_per_element`: those of x's dtype. `g`, `out`: an array or None.
    """
    cdef RowJob job
    cdef Array a
    cdef Array y
    cdef intptr_t n, size, rows = 1
    cdef intptr_t *shape
    cdef int d, ndim, itemsize
    cdef void *descr
    cdef void **pointers = <void **>&job.kernels
    if Py_TYPE(<PyObject *>x) != PyArray_Type_pointer or type(axis) is not int:
        return None
    a = <Array><PyObject *>x
    descr, ndim, shape = descr_of(a), ndim_of(a), dims_of(a)
    if not is_plain(a) or ndim < 1 + reduces or (descr != DESCR[FLOAT32] and descr != DESCR[FLOAT64]) or (axis != -1 and axis != ndim - 1):
        return None
    for d in range(ndim - 1):
        rows *= shape[d]
    n, itemsize = shape[ndim - 1], 4 if descr == DESCR[FLOAT32] else 8
    size = rows * n * itemsize
    if size == 0:
        return None
    if g is not None:
        if Py_TYPE(<PyObject *>g) != PyArray_Type_pointer or not alike(<Array><PyObject *>g, descr, ndim, shape) or not is_plain(<Array><PyObject *>g):
            return None
    if out is None:
        out = <object>fastact_new_array(descr, ndim - reduces, shape, False)
        Py_DECREF(<PyObject *>out)  # the name has a reference of its own
        y = <Array><PyObject *>out
    else:
        if Py_TYPE(<PyObject *>out) != PyArray_Type_pointer:
            return None
        y = <Array><PyObject *>out
        if not alike(y, descr, ndim - reduces, shape) or not is_plain(y) or not flags_of(y) & WRITEABLE:
            return None
        if overlap(data_of(y), data_of(a), size) and (reduces or data_of(y) != data_of(a)):
            return None
        if g is not None and overlap(data_of(y), data_of(<Array><PyObject *>g), size) and data_of(y) != data_of(<Array><PyObject *>g):
            return None
    for d in range(8):
        pointers[d] = <void *><size_t>kernels[d]
    job.itemsize, job.reduces, job.ns_per_element = itemsize, reduces, ns_per_element
    job.numbers[:] = [sign, 1 if g is None else sign, 0, 1]
    job.ndim, job.shape[0], job.n = 1, rows, n
    job.offsets = NULL
    job.has_gradient, job.has_mask = g is not None, False
    set_plain_operand(&job.x, data_of(a), itemsize, n)
    set_plain_operand(&job.g, data_of(a if g is None else <Array><PyObject *>g), itemsize, n)
    set_plain_operand(&job.mask, data_of(a), itemsize, n)
    set_plain_operand(&job.y, data_of(y), itemsize, 1 if reduces else n)
    run_row_job(job, rows * n)
    return out


cdef inline bint is_plain(Array a) noexcept:
    return flags_of(a) & C_CONTIGUOUS and flags_of(a) & ALIGNED

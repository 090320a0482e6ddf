# A part of frontend.pyx: pipelines, as Python sees them.

cdef extern from "stages.h":
    ctypedef void (*fastact_stage)(const void *const *, void *const *, const double *, intptr_t, unsigned) noexcept
    ctypedef void (*fastact_sum)(const void *, double *, double *, intptr_t) noexcept

cdef extern from "pipeline.hpp" namespace "fastact" nogil:
    enum: MAX_REGISTERS "fastact::MAX_REGISTERS"
    enum: MAX_STEPS "fastact::MAX_STEPS"
    ctypedef int Op
    cdef struct Step:
        Op op
        fastact_stage stage
        int *in_ "in"
        int *out
        int inputs
        int outputs
    cdef struct CPipeline "fastact::Pipeline":
        Plan plan
        int inputs, outputs, sums, temporaries, segments, steps
        unsigned spread
        Step *step
        fastact_sum sum_all
        fastact_sum sum_columns
        fastact_sum sum_doubles
    intptr_t c_pipeline_pieces "fastact::pipeline_pieces"(intptr_t, intptr_t)
    void c_run_pipeline "fastact::run_pipeline"(const CPipeline &, int, const intptr_t *, char *const *, const intptr_t *const *, const int *,
                                                const double *, const intptr_t *, double *, bint, bint) noexcept

cdef extern from *:
    """
    static inline void fastact_set_op(fastact::Step *step, int op) { step->op = (fastact::Op)op; }
    """
    void fastact_set_op(Step *, int) noexcept


cdef class Pipeline:
    """A kernel with steps around it, over blocks. Registers are numbered: inputs, parameters, outputs, sums, temporaries."""

    cdef CPipeline pipe

    def __init__(self, int itemsize, size_t kernel, size_t varying, int parameters, double ns_per_element, int inputs, int outputs, int sums,
                 int temporaries, int segments, unsigned spread, list steps, size_t sum_all, size_t sum_columns, size_t sum_doubles):
        """`steps` lists (op, address of the stage, registers read, registers written)."""
        cdef int s, i
        if inputs + parameters + outputs + sums + temporaries > MAX_REGISTERS or len(steps) > MAX_STEPS or parameters > MAX_PARAMETERS:
            raise ValueError("steps: too many steps or registers")
        cdef CPipeline *pipe = &self.pipe
        pipe.plan.kernel, pipe.plan.varying, pipe.plan.itemsize = <kernel_fn>kernel, <kernel_fn>varying, itemsize
        pipe.plan.parameters, pipe.plan.ns_per_element = parameters, ns_per_element
        pipe.inputs, pipe.outputs, pipe.sums, pipe.temporaries, pipe.segments = inputs, outputs, sums, temporaries, segments
        pipe.spread, pipe.steps = spread, len(steps)
        pipe.sum_all, pipe.sum_columns, pipe.sum_doubles = <fastact_sum>sum_all, <fastact_sum>sum_columns, <fastact_sum>sum_doubles
        for s, (op, stage, read, written) in enumerate(steps):
            fastact_set_op(&pipe.step[s], op)
            pipe.step[s].stage = <fastact_stage><size_t>stage
            pipe.step[s].inputs, pipe.step[s].outputs = len(read), len(written)
            for i, register in enumerate(read):
                pipe.step[s].in_[i] = register
            for i, register in enumerate(written):
                pipe.step[s].out[i] = register

    def run(self, tuple shape, list operands, tuple constants, bint in_place, bint fresh):
        """Run over arrays that broadcast to this shape, in the order of the registers. The arrays of sums hold zeros."""
        cdef CPipeline *pipe = &self.pipe
        cdef int count = len(operands), ndim = len(shape), k, d, sums_at = count - pipe.sums
        cdef intptr_t lengths[64]
        cdef intptr_t strides[24][64]
        cdef const intptr_t *rows[24]
        cdef char *data[24]
        cdef int types[24]
        cdef double values[8]
        cdef intptr_t sum_sizes[24]
        cdef intptr_t n = 1, total = 0, size
        cdef Array a
        cdef double *work = NULL
        assert count == pipe.inputs + pipe.plan.parameters + pipe.outputs + pipe.sums and ndim <= 64 and len(constants) <= 8
        for d in range(ndim):
            lengths[d] = shape[d]
            n *= lengths[d]
        for k in range(count):
            a = <Array><PyObject *>operands[k]
            data[k], rows[k] = data_of(a), strides[k]
            size = (<cnp.ndarray>operands[k]).itemsize
            types[k] = 1 if size == 1 else 0 if size != 2 else 2 if cnp.PyArray_TYPE(<cnp.ndarray>operands[k]) == cnp.NPY_FLOAT16 else 3
            for d in range(ndim):
                strides[k][d] = 0
            for d in range(ndim_of(a)):
                if dims_of(a)[d] != 1:
                    strides[k][ndim - ndim_of(a) + d] = strides_of(a)[d]
        for k in range(pipe.sums):
            sum_sizes[k] = (<cnp.ndarray>operands[sums_at + k]).size
            total += sum_sizes[k]
        for k in range(<int>len(constants)):
            values[k] = constants[k]
        if total:
            held = cnp.PyArray_ZEROS(1, [2 * c_pipeline_pieces(n, total) * total], cnp.NPY_FLOAT64, 0)
            work = <double *>data_of(<Array><PyObject *>held)
        if n * pipe.plan.ns_per_element < RELEASE_GIL_NS:
            c_run_pipeline(pipe[0], ndim, lengths, data, rows, types, values, sum_sizes, work, in_place, fresh)
        else:
            with nogil:
                c_run_pipeline(pipe[0], ndim, lengths, data, rows, types, values, sum_sizes, work, in_place, fresh)


cdef class Quick:
    """A program with all parameters and constants at their defaults, called on plain arrays: without checks in Python."""

    cdef CPipeline pipes[2]
    cdef double values[8]
    cdef float singles[8]
    cdef double constants[8]

    def __init__(self, Pipeline single, Pipeline double, defaults, tuple constants):
        cdef int j
        self.pipes[0], self.pipes[1] = single.pipe, double.pipe
        for j in range(<int>len(defaults)):
            self.values[j] = defaults[j]
            self.singles[j] = <float>self.values[j]
        for j in range(<int>len(constants)):
            self.constants[j] = constants[j]

    def __call__(self, tuple inputs, out, bint apart=False):
        """The results, or None: then the general path decides.

        Of the inputs, arrays of one dtype, those that spread may be of the last axis alone; a sum is over all axes but the last.
        `apart`: what is given for `out` are parts of one array that share no memory, however they lie in it.
        """
        cdef Array a, b, first
        cdef void *descr
        cdef int precision, ndim, count = len(inputs), outputs, sums, j, k, d, operands = 0
        cdef intptr_t strides[24][64]
        cdef const intptr_t *rows[24]
        cdef char *data[24]
        cdef int types[24]
        cdef intptr_t n = 1
        cdef CPipeline *pipe
        cdef intptr_t *shape
        cdef bint fresh = out is None
        cdef tuple results
        cdef double *total = NULL
        cdef double *work = NULL
        cdef intptr_t channels, pieces
        if overridden() or Py_TYPE(<PyObject *>inputs[0]) != PyArray_Type_pointer:
            return None
        first = <Array><PyObject *>inputs[0]
        descr, ndim, shape = descr_of(first), ndim_of(first), dims_of(first)
        precision = 0 if descr == DESCR[FLOAT32] else 1 if descr == DESCR[FLOAT64] else -1
        if precision < 0 or ndim == 0:
            return None
        pipe = &self.pipes[precision]
        outputs, sums, channels = pipe.outputs, pipe.sums, shape[ndim - 1]
        if sums > 1 or count != pipe.inputs:
            return None
        for k in range(count):
            a = <Array><PyObject *>inputs[k]
            if Py_TYPE(<PyObject *>inputs[k]) != PyArray_Type_pointer or not flags_of(a) & ALIGNED:
                return None
            if alike(a, descr, ndim, dims_of(first)):
                for d in range(ndim):
                    strides[k][d] = strides_of(a)[d]
            elif pipe.spread >> k & 1 and alike(a, descr, 1, dims_of(first) + ndim - 1):
                for d in range(ndim - 1):
                    strides[k][d] = 0
                strides[k][ndim - 1] = strides_of(a)[0]
            else:
                return None
            data[k] = data_of(a)
        operands = count
        for j in range(pipe.plan.parameters):
            for d in range(ndim):
                strides[operands][d] = 0
            data[operands] = <char *>&self.singles[j] if precision == 0 else <char *>&self.values[j]
            operands += 1
        if out is None:
            results = tuple([<object>fastact_new_like_owned(first) for k in range(outputs)])
            if sums:
                results += (cnp.PyArray_SimpleNew(1, [channels], cnp.NPY_FLOAT64 if precision else cnp.NPY_FLOAT32),)
        elif type(out) is tuple:
            results = out
        else:
            results = (out,)
        if len(results) != outputs + sums:
            return None
        for k in range(outputs + sums):
            a = <Array><PyObject *>results[k]
            if out is not None:
                if Py_TYPE(<PyObject *>results[k]) != PyArray_Type_pointer:
                    return None
                if not (alike(a, descr, ndim, shape) if k < outputs else alike(a, descr, 1, shape + ndim - 1)):
                    return None
                if not flags_of(a) & WRITEABLE or not flags_of(a) & ALIGNED or internal_overlap(a):
                    return None
                for j in range(count if apart else count + k):
                    b = <Array><PyObject *>(inputs[j] if j < count else results[j - count])
                    if reach_each_other(a, b):
                        return None
            for d in range(ndim):
                strides[operands][d] = strides_of(a)[d] if k < outputs else 0
            data[operands] = data_of(a)
            operands += 1
        for d in range(ndim):
            n *= shape[d]
        if sums:
            pieces = c_pipeline_pieces(n, channels)
            held = cnp.PyArray_ZEROS(1, [(1 + 2 * pieces) * channels], cnp.NPY_FLOAT64, 0)
            total = <double *>data_of(<Array><PyObject *>held)
            work = total + channels
            data[operands - 1], strides[operands - 1][ndim - 1] = <char *>total, sizeof(double)
        for k in range(operands):
            rows[k], types[k] = strides[k], 0
        if n * pipe.plan.ns_per_element < RELEASE_GIL_NS:
            c_run_pipeline(pipe[0], ndim, shape, data, rows, types, self.constants, &channels, work, False, fresh)
        else:
            with nogil:
                c_run_pipeline(pipe[0], ndim, shape, data, rows, types, self.constants, &channels, work, False, fresh)
        if sums:
            a = <Array><PyObject *>results[outputs]
            for j in range(channels):
                if precision == 0:
                    (<float *>(data_of(a) + j * strides_of(a)[0]))[0] = <float>total[j]
                else:
                    (<double *>(data_of(a) + j * strides_of(a)[0]))[0] = total[j]
        return results if outputs + sums > 1 else results[0]


cdef object fastact_new_like_owned(Array a):
    made = <object>fastact_new_like(a, descr_of(a))
    Py_DECREF(<PyObject *>made)  # this function's own reference is the one that counts
    return made


cdef bint reach_each_other(Array a, Array b) noexcept:
    """Whether the memory of two arrays may overlap."""
    cdef char *low_a
    cdef char *high_a
    cdef char *low_b
    cdef char *high_b
    extent(a, &low_a, &high_a)
    extent(b, &low_b, &high_b)
    return low_a < high_b and low_b < high_a

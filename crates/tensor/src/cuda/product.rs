//! Products of matrices by cuBLASLt, where the machine has it. How one is computed is chosen once for its sizes.

use super::driver::check;
use super::gpu::Gpu;
use super::launch::{Matrix, Product};
use super::library::PRODUCTS;
use crate::{DType, Error, ErrorKind, Result};
use cudarc::cublaslt::result::{self as lt, CublasError};
use cudarc::cublaslt::sys::{self, cublasComputeType_t, cublasLtMatmulDescAttributes_t, cudaDataType};
use cudarc::driver::sys::{self as driver, CUdeviceptr};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

/// Memory that a product may use while it runs. All work of a device is in one stream, so one room serves all.
const WORKSPACE: usize = 32 << 20;

/// The library, for one device.
pub(super) struct Products {
    handle: sys::cublasLtHandle_t,
    workspace: CUdeviceptr,
    /// How products of these sizes and alignments are computed; `None` where the library has no way.
    known: Mutex<HashMap<Key, Option<Arc<Known>>>>,
}

// SAFETY: a handle of the library's may be used by any thread, and by several at a time.
unsafe impl Send for Products {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for Products {}

/// All that the choice of an algorithm depends on.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    product: Product,
    /// Powers of two that the addresses of a, b and y are multiples of.
    alignments: [u32; 3],
}

/// A product of known sizes.
struct Known {
    description: sys::cublasLtMatmulDesc_t,
    /// Of b, a and y: the library counts columns first, for which a row-major product is that of the transposed operands in the
    /// other order.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

// SAFETY: descriptions are not changed once they are made, and live as long as the process.
unsafe impl Send for Known {}
// SAFETY: as above.
unsafe impl Sync for Known {}

fn failed(doing: &str) -> impl Fn(CublasError) -> Error + '_ {
    move |error| Error::new(ErrorKind::Device, "cuda", format!("{doing}: {error}"))
}

impl Products {
    /// The library for the thread's device, if the machine has it.
    pub(super) fn new() -> Option<Products> {
        PRODUCTS.open().ok()?;
        let handle = lt::create_handle().ok()?;
        let mut workspace = 0;
        // SAFETY: the target is a variable here. A device without room for it multiplies without.
        let result = unsafe { driver::cuMemAlloc_v2(&mut workspace, WORKSPACE) };
        if check(result, "").is_err() {
            workspace = 0;
        }
        Some(Products { handle, workspace, known: Mutex::default() })
    }

    /// The version, as in `13.1`.
    pub(super) fn version(&self) -> String {
        // SAFETY: the library is there.
        let version = unsafe { sys::cublasLtGetVersion() };
        format!("{}.{}", version / 10_000, version % 10_000 / 100)
    }

    fn workspace(&self) -> usize {
        if self.workspace == 0 { 0 } else { WORKSPACE }
    }

    /// Puts a product into a stream, for operands and a result at these addresses; `false` where the library has no way to compute
    /// it.
    pub(super) fn start(
        &self,
        stream: driver::CUstream,
        product: &Product,
        addresses: [CUdeviceptr; 3],
    ) -> Result<bool> {
        let key =
            Key { product: product.clone(), alignments: addresses.map(|address| address.trailing_zeros().min(8)) };
        let Some(known) = self.known(key)? else { return Ok(false) };
        let [a, b, y] = addresses.map(|address| address as *mut c_void);
        let (one, zero) = ((1.0f32, 1.0f64), (0.0f32, 0.0f64));
        let [one, zero]: [*const c_void; 2] = match product.dtype {
            DType::F64 => [(&raw const one.1).cast(), (&raw const zero.1).cast()],
            _ => [(&raw const one.0).cast(), (&raw const zero.0).cast()],
        };
        let [of_b, of_a, of_y] = known.layouts;
        // SAFETY: the operation has its operands and its result at these addresses, as long as its layouts reach; the numbers are
        // copied before the call returns, and the workspace is used by this stream alone.
        let result = unsafe {
            lt::matmul(
                self.handle,
                known.description,
                one,
                zero,
                b,
                of_b,
                a,
                of_a,
                y,
                of_y,
                y,
                of_y,
                &known.algorithm,
                self.workspace as *mut c_void,
                self.workspace(),
                stream.cast(),
            )
        };
        result.map(|()| true).map_err(failed("cuBLASLt cannot start the product"))
    }

    fn known(&self, key: Key) -> Result<Option<Arc<Known>>> {
        // A panic while it is held leaves a product to be looked for again.
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&key) {
            return Ok(known.clone());
        }
        let known = Known::new(self, &key)?.map(Arc::new);
        all.insert(key, known.clone());
        Ok(known)
    }
}

impl Known {
    fn new(products: &Products, key: &Key) -> Result<Option<Known>> {
        let product = &key.product;
        let (data, compute, scale) = types(product);
        let [m, n, k] = product.sizes;
        let failed = failed("cuBLASLt does not take the product");
        let description = lt::create_matmul_desc(compute, scale).map_err(&failed)?;
        let set = |attribute, value: i32| {
            // SAFETY: the description was made above, the value is of the attribute's type.
            unsafe {
                lt::set_matmul_desc_attribute(description, attribute, (&raw const value).cast(), size_of_val(&value))
            }
        };
        set(cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, operation(&product.b)).map_err(&failed)?;
        set(cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB, operation(&product.a)).map_err(&failed)?;
        let y = Matrix { row: n, column: 1, batch: m * n, ..product.a };
        let layout = |matrix: &Matrix, rows, columns| layout(data, matrix, [rows, columns], product.batches);
        let layouts = [layout(&product.b, k, n), layout(&product.a, m, k), layout(&y, m, n)];
        let [b, a, y] = layouts.map(|layout| layout.map_err(&failed));
        let layouts = [b?, a?, y?];
        let algorithm = choose(products, key, description, layouts).map_err(&failed)?;
        Ok(algorithm.map(|algorithm| Known { description, layouts, algorithm }))
    }
}

/// The algorithm that the library holds for the best: the same in every run, which one that was measured would not be.
fn choose(
    products: &Products,
    key: &Key,
    description: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
) -> std::result::Result<Option<sys::cublasLtMatmulAlgo_t>, CublasError> {
    use sys::cublasLtMatmulPreferenceAttributes_t::*;
    let preference = lt::create_matmul_pref()?;
    let [a, b, y] = key.alignments.map(|power| 1u32 << power);
    let workspace = products.workspace();
    // SAFETY: the preference was made above, each value is of its attribute's type; the layouts and the description are the
    // caller's. The preference is not used afterwards.
    unsafe {
        let set =
            |attribute, value: *const c_void, size| lt::set_matmul_pref_attribute(preference, attribute, value, size);
        set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, (&raw const workspace).cast(), size_of_val(&workspace))?;
        // In the library's order.
        for (attribute, alignment) in [
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, y),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, y),
        ] {
            set(attribute, (&raw const alignment).cast(), size_of_val(&alignment))?;
        }
        let [b, a, y] = layouts;
        let found = lt::get_matmul_algo_heuristic(products.handle, description, b, a, y, y, preference);
        _ = lt::destroy_matmul_pref(preference);
        match found {
            Ok(found) => Ok(Some(found.algo)),
            Err(CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What the library computes with: sums are single precision, of f64 double.
fn types(product: &Product) -> (cudaDataType, cublasComputeType_t, cudaDataType) {
    use cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F};
    use cudaDataType::{CUDA_R_16BF, CUDA_R_16F, CUDA_R_32F, CUDA_R_64F};
    match product.dtype {
        DType::F16 => (CUDA_R_16F, CUBLAS_COMPUTE_32F, CUDA_R_32F),
        DType::BF16 => (CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUDA_R_32F),
        DType::F64 => (CUDA_R_64F, CUBLAS_COMPUTE_64F, CUDA_R_64F),
        _ if product.tf32 => (CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F),
        _ => (CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F),
    }
}

/// Whether rows lie dense, which the library sees as columns of the transposed matrix.
fn is_dense_by_rows(matrix: &Matrix) -> bool {
    matrix.column == 1
}

/// `CUBLAS_OP_N` or `CUBLAS_OP_T`.
fn operation(matrix: &Matrix) -> i32 {
    if is_dense_by_rows(matrix) { 0 } else { 1 }
}

fn layout(
    data: cudaDataType,
    matrix: &Matrix,
    [rows, columns]: [usize; 2],
    batches: usize,
) -> std::result::Result<sys::cublasLtMatrixLayout_t, CublasError> {
    use sys::cublasLtMatrixLayoutAttribute_t::{
        CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
    };
    let (dense, others, step) = match is_dense_by_rows(matrix) {
        true => (columns, rows, matrix.row),
        false => (rows, columns, matrix.column),
    };
    let layout = lt::create_matrix_layout(data, dense as u64, others as u64, step as i64)?;
    if batches > 1 {
        let (count, step) = (i32::try_from(batches).unwrap_or(i32::MAX), matrix.batch as i64);
        // SAFETY: the layout was made above, the values are of the attributes' types.
        unsafe {
            let set =
                |attribute, value: *const c_void, size| lt::set_matrix_layout_attribute(layout, attribute, value, size);
            set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, (&raw const count).cast(), size_of_val(&count))?;
            set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, (&raw const step).cast(), size_of_val(&step))?;
        }
    }
    Ok(layout)
}

impl Gpu {
    /// What computes products here, in words.
    pub(super) fn products_by(&self) -> String {
        match self.products() {
            Some(products) => format!("cuBLASLt {}", products.version()),
            None => "kernels of Kiln (no cuBLASLt)".to_owned(),
        }
    }
}

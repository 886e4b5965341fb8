//! placeholder
use crate::Result;
use kiln_autograd::{Key,Tensor,DType};
/// x
#[derive(Debug,Clone,PartialEq,serde::Serialize,serde::Deserialize)]
pub enum Initializer{
/// x
Zeros,
/// x
Ones,
/// x
GlorotUniform,
/// x
RandomUniform{ /// x
 low:f64,/// x
 high:f64}}
impl Initializer{
/// x
pub fn init(&self,key:Key,shape:&[usize],dtype:DType)->Result<Tensor>{ Ok(match self{
 Initializer::Zeros=>Tensor::filled(kiln_autograd::Spec::new(kiln_autograd::Shape::new(shape)?,dtype),0.0),
 Initializer::Ones=>Tensor::filled(kiln_autograd::Spec::new(kiln_autograd::Shape::new(shape)?,dtype),1.0),
 Initializer::GlorotUniform=>{let r:usize=shape[..shape.len().saturating_sub(2)].iter().product();let (i,o)=if shape.len()>1{(shape[shape.len()-2]*r,shape[shape.len()-1]*r)}else{(shape[0],shape[0])};let l=(6.0/(i+o) as f64).sqrt();key.uniform_as(shape,-l,l,dtype)?}
 Initializer::RandomUniform{low,high}=>key.uniform_as(shape,*low,*high,dtype)?})}}

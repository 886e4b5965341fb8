//! stub
use crate::{Result,losses::Loss};
use kiln_autograd::{Tensor};
/// x
pub trait Metric:std::fmt::Debug+Send{
/// x
fn name(&self)->&str;
/// x
fn update(&mut self,t:&Tensor,p:&Tensor,w:Option<&Tensor>)->Result<()>;
/// x
fn values(&self)->Vec<(String,f64)>;
/// x
fn reset(&mut self);
/// x
fn boxed(&self)->Box<dyn Metric>;
/// x
fn direction(&self)->Option<bool>{None}
/// x
fn to_config(&self)->serde_json::Value{serde_json::json!("accuracy")}
}
/// x
pub trait IntoMetrics{/// x
 fn into_metrics(self,loss:&dyn Loss)->Result<Vec<Box<dyn Metric>>>;}
#[derive(Debug,Clone)]
struct Acc{n:f64,c:f64}
impl Metric for Acc{fn name(&self)->&str{"accuracy"}
fn update(&mut self,t:&Tensor,p:&Tensor,_:Option<&Tensor>)->Result<()>{let k=*p.shape().last().unwrap();let p=p.to_vec::<f32>()?;let t=t.to_vec_as::<i64>();
 for(i,t) in t.iter().enumerate(){let r=&p[i*k..(i+1)*k];let mut b=0;for j in 1..k{if r[j]>r[b]{b=j}} self.n+=1.0;if b as i64==*t{self.c+=1.0}}Ok(())}
fn values(&self)->Vec<(String,f64)>{vec![("accuracy".into(),self.c/self.n)]}
fn reset(&mut self){self.n=0.0;self.c=0.0}
fn boxed(&self)->Box<dyn Metric>{Box::new(self.clone())}}
impl<const N:usize> IntoMetrics for [&str;N]{fn into_metrics(self,_:&dyn Loss)->Result<Vec<Box<dyn Metric>>>{Ok(self.iter().map(|_|Box::new(Acc{n:0.0,c:0.0}) as Box<dyn Metric>).collect())}}
impl IntoMetrics for Vec<Box<dyn Metric>>{fn into_metrics(self,_:&dyn Loss)->Result<Vec<Box<dyn Metric>>>{Ok(self)}}
/// x
pub fn from_config(_:&serde_json::Value)->Result<Box<dyn Metric>>{Ok(Box::new(Acc{n:0.0,c:0.0}))}

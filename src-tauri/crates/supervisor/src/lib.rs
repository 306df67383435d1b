mod files;
mod health;
mod output;
mod unit;

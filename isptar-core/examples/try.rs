use isptar_core::*;
struct P;
impl Observer for P {
    fn event(&mut self, e: Event<'_>) {
        match e {
            Event::Done { .. } | Event::Progress { .. } | Event::Planned { .. } => {}
            e => eprintln!("{e:?}"),
        }
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    match a[1].as_str() {
        "c" => {
            let mut s = FileSink::create(a[2].as_ref()).unwrap();
            let mut o = CreateOptions::default();
            o.directory = a[3].clone().into();
            let paths: Vec<_> = a[4..].iter().map(|p| p.into()).collect();
            println!("{:?}", create(&mut s, &paths, &o, &mut P));
        }
        "t" => {
            let ar = Archive::open(std::fs::File::open(&a[2]).unwrap()).unwrap();
            let mut n = 0;
            for e in ar.entries() {
                let e = e.unwrap();
                n += 1;
                if a.len() > 3 {
                    println!("{}", e.path);
                }
            }
            println!("{n} {:?}", ar.info());
        }
        "v" => {
            let ar = Archive::open(std::fs::File::open(&a[2]).unwrap()).unwrap();
            let mut prev = None;
            let mut bytes = 0u64;
            for e in ar.entries() {
                let e = e.unwrap();
                if e.location.is_none() {
                    continue;
                }
                let mut m = ar.next_member(prev, &e).unwrap();
                while let Some(p) = m.next_piece().unwrap() {
                    bytes += p.bytes.len() as u64;
                }
                prev = Some(m);
            }
            println!("{bytes}");
        }
        "s" => {
            let mut t = TarReader::new(std::io::stdin(), Limits::default()).unwrap();
            let mut n = 0;
            while let Some(s) = t.next().unwrap() {
                n += 1;
                if a.len() > 2 {
                    println!("{}", s.header().path);
                }
            }
            println!("{n} ours {} end missing {}", t.is_ours(), t.end_missing());
        }
        _ => {}
    }
}
